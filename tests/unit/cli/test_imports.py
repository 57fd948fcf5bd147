"""What a command imports: Dagster takes longer to import than most of them take to answer."""

import os
import subprocess
import sys
from pathlib import Path

_CALL = """
import sys
from orders_lakehouse.cli import main as cli

for arguments in (
    ["checks"],
    ["status"],
    ["quarantine", "list"],
    ["quarantine", "show", "orders", "o1"],
    ["quarantine", "export", "folder"],
    ["dictionary"],
    ["register"],
):
    sys.argv = ["lakehouse", *arguments]
    try:
        cli.main()
    except SystemExit:
        pass
    found = sorted(name for name in sys.modules if name in ("dagster", "dagster_dbt"))
    print(*arguments, "imports", *found, file=sys.stderr) if found else None
    if "polars" not in sys.modules:
        print(*arguments, "did nothing", file=sys.stderr)
"""


def _run(script: str, home: Path) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=home,
        env={"PATH": os.environ["PATH"], "LAKEHOUSE_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_commands_that_only_look_do_not_import_dagster(tmp_path: Path) -> None:
    done = _run(_CALL, tmp_path)
    assert "Nothing is in quarantine." in done.stdout
    assert [line for line in done.stderr.splitlines() if not line.startswith("Error: ")] == []


_DEFINITIONS = """
import sys
import orders_lakehouse.definitions
import polars as pl
from orders_lakehouse.tables import CLEANSED
from orders_lakehouse.defs.checks.contracts import broken_rules

# To judge rows takes no more.
for table in CLEANSED:
    broken_rules(table, pl.DataFrame(schema=table.schema))
print(*sorted({"dbt.version", "networkx", "pandas", "pyspark"} & set(sys.modules)))
# Whoever needs one of them has it.
import dbt.version, pandas, pyspark
pl.from_pandas(pandas.DataFrame({"a": [1]}))
"""


def test_definitions_import_neither_dbt_nor_frames_of_others(tmp_path: Path) -> None:
    done = _run(_DEFINITIONS, tmp_path)
    assert done.stdout == "\n"
