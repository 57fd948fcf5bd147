import json
import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders_lakehouse.cli.plain_text import safe, safe_json, safe_lines
from orders_lakehouse.cli.quarantine.export import _write
from orders_lakehouse.settings import PROJECT

OBEYED = "\x1b\x07\x9b\x7f\u202e\u2066"


@given(st.text())
def test_no_control_character_is_left(text: str) -> None:
    assert safe(text).isprintable() or not any(ord(one) < 0x20 or 0x7F <= ord(one) < 0xA0 for one in safe(text))
    assert not set(OBEYED) & set(safe(text))
    assert safe_lines(text).count("\n") == text.count("\n")


def test_escaped_text_can_be_decoded() -> None:
    assert safe("a\x1b[31m\tb\n\u202ec é") == r"a\x1b[31m\tb\n\u202ec é"


@given(st.text(), st.booleans())
def test_json_means_the_same(text: str, ascii_only: bool) -> None:
    shown = safe_json(json.dumps([text], ensure_ascii=False, indent=1), ascii_only=ascii_only)
    assert json.loads(shown) == [text]
    assert not set(OBEYED) & set(shown)
    assert shown.isascii() or not ascii_only


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("words", [["status"], ["status", "--help"], ["sql", "select '✓ é' as a"]])
def test_terminal_that_has_no_tick_shows_a_plain_sign(words: list[str], encoding: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lakehouse")), *words],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONIOENCODING": encoding,
            "PYTHONUTF8": "0",
            "LANG": "C",
            "LAKEHOUSE_HOME": str(tmp_path),
        },
        cwd=PROJECT,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    said = done.stdout.decode(encoding)
    if words[-1] == "--help":
        assert ("✓" if encoding == "utf-8" else "+") + " all hold" in said


NUMBER = re.compile(r"-[0-9]+(\.[0-9]+)?")
# What spreadsheets take for the beginning of a formula, alone and behind quotes.
CELLS: list[str | None] = [
    "=1+1",
    "+1",
    "-1",
    "-3.50",
    "'-3.50",
    "-1\n",
    "-1+cmd",
    "@sum",
    "\t=1",
    "\r=1",
    "\n=1",
    "'=1",
    "''=1",
    "'",
    "''",
    "'a",
    "a=1",
    "a\n=1",
    "",
    None,
]


@given(st.lists(st.one_of(st.none(), st.text(alphabet="'=+-@\t\r\n,\" a"), st.sampled_from(CELLS)), min_size=1))
def test_formula_is_guarded_and_the_guard_can_be_taken_off(cells: list[str | None]) -> None:
    rows = pl.DataFrame({"cell": cells, "amount": -1}, schema={"cell": pl.String, "amount": pl.Int64})
    path = Path(os.environ["LAKEHOUSE_HOME"]).parent / f"formulas-{os.getpid()}" / "orders.csv"
    _write(rows, path, "csv")
    found = pl.read_csv(path, schema=rows.schema)
    formulas = [cell for cell in found["cell"] if cell and cell[0] in "=+-@\t\r\n" and not NUMBER.fullmatch(cell)]
    assert formulas == []
    assert found["amount"].to_list() == [-1] * len(cells), "numbers are no formulas"
    # One quote less, as docs/quarantine.md says.
    plain = found["cell"].str.replace(r"^'('*[=+\-@\t\r\n＝＋－＠])", "${1}")  # noqa: RUF001
    assert plain.to_list() == cells


def test_written_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "to fix" / "orders.csv"
    path.parent.mkdir()
    path.write_text("older")
    path.chmod(0o644)
    _write(pl.DataFrame({"cell": ["a"]}), path, "csv")
    assert path.read_text() == "cell\na\n"
    assert path.stat().st_mode & 0o077 == 0
    assert list(path.parent.iterdir()) == [path]
