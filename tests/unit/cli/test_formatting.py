"""Rows on the terminal: what fits into 80 columns, and what is said of the rest."""

import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from orders_lakehouse.cli.formatting import program, show_rows


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


def shown(rows: pl.DataFrame, capsys: pytest.CaptureFixture[str]) -> list[str]:
    show_rows(rows)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_values_are_exact_and_nulls_are_seen(capsys: pytest.CaptureFixture[str]) -> None:
    rows = pl.DataFrame(
        {
            "text": ["a", None, ""],
            "money": [Decimal("12345678901234567890.10"), Decimal("0.00"), None],
            "at": [datetime(2017, 3, 1, 10, tzinfo=UTC), datetime(2017, 3, 1, 10, 0, 0, 1, tzinfo=UTC), None],
            "list": [[1, 2], [], None],
        }
    )
    assert shown(rows, capsys) == [
        "text                    money  at                           list",
        "──────────────────────────────────────────────────────────────────",
        "a     12345678901234567890.10  2017-03-01 10:00:00Z         [1, 2]",
        "null                     0.00  2017-03-01 10:00:00.000001Z  []",
        "                         null  null                         null",
    ]


def test_control_characters_are_shown_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    rows = pl.DataFrame({"text": ["\x1b[31mred\x1b[0m", "two\nlines", "[bold]markup[/]", "\u202eright to left"]})
    assert shown(rows, capsys)[2:] == [r"\x1b[31mred\x1b[0m", r"two\nlines", "[bold]markup[/]", r"\u202eright to left"]


def test_few_wide_rows_are_shown_one_below_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    rows = pl.DataFrame({"short": [1, None], "long": ["x" * 100, "y"]})
    assert shown(rows, capsys) == [
        "row 1",
        "short  1",
        "long   " + "x" * 73,
        "       " + "x" * 27,
        "row 2",
        "short  null",
        "long   y",
    ]


def test_wide_rows_show_fitting_columns_and_name_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = pl.DataFrame({"number": range(4), "text": ["x" * 100] * 4, "third": ["y" * 32] * 4, "fourth": [1] * 4})
    lines = shown(rows, capsys)
    assert lines[0] == "number  text                              third"
    assert lines[2] == f"     0  {'x' * 31}…  {'y' * 32}"
    assert lines[6:] == ["and 1 more columns: fourth"]
    assert max(map(len, lines)) <= 80


def test_wider_terminal_shows_more(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    rows = pl.DataFrame({"long": ["x" * 100] * 4, "fourth": [1] * 4})
    assert shown(rows, capsys)[2] == "x" * 100 + "       1"


def test_no_rows_show_their_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(pl.DataFrame(schema={"a": pl.Int64, "b": pl.String}), capsys)[0] == "a  b"


def test_command_is_called_by_name_if_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "bin" / "lakehouse"
    script.parent.mkdir()
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(script), "status"])
    monkeypatch.setenv("PATH", str(script.parent))
    assert program() == "lakehouse"
    monkeypatch.setenv("PATH", "/nowhere")
    assert program() == "bin/lakehouse"
    monkeypatch.chdir("/")
    assert program() == str(script).lstrip("/")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert program() == str(script)
