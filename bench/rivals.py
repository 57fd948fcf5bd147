"""The rivals of the lakehouse: a bare script, and dlt with dbt on DuckDB.

A rival runs on the same machine, the same shop and the same dates. Its tables are compared afterwards, outside of the
measured time.
"""

import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from bench.equal import file_differences, lake_differences, warehouse_differences
from bench.run import Bench, BenchError
from orders_lakehouse.settings import PROJECT

BARE, DLT_DBT = "bare", "dlt_dbt"
RIVALS = (BARE, DLT_DBT)
_REQUIREMENTS = PROJECT / "bench" / "dlt_dbt_requirements.txt"
_ENVIRONMENT = PROJECT / ".lakehouse" / "dlt_dbt"
_COMMANDS: Mapping[str, Callable[[], list[str]]] = {
    BARE: lambda: [sys.executable, "-m", "bench.bare"],
    DLT_DBT: lambda: [str(_python()), str(PROJECT / "bench" / "dlt_dbt.py")],
}


def race(bench: Bench, name: str, first: date, last: date) -> dict[str, Any]:
    """Run a rival for a range of dates, and return its numbers as `Bench.rival` does."""
    return bench.rival(name, _COMMANDS[name](), first, last)


def require_equal(bench: Bench, names: Sequence[str]) -> None:
    """Check that the rivals have made the same tables as the lakehouse.

    Args:
        bench: A lakehouse that was just built, as its rivals were, for the same dates.
        names: Names of the rivals.

    Raises:
        BenchError: Tables differ.
    """
    for name in names:
        home, warehouse = bench.rival_home(name), bench.url("warehouse")
        if name == BARE:
            differences = lake_differences(bench.home / "lake", home / "lake")
            differences += warehouse_differences(warehouse, bench.url(name))
        else:
            subprocess.run(  # noqa: S603 (our own command)
                [*_COMMANDS[name](), "export", str(home / "marts")], env=bench.rival_environment(name), check=True
            )
            differences = file_differences(warehouse, home / "marts")
        if differences:
            raise BenchError(
                f"{name} has not made the same tables, so its time says nothing; ours and its own: "
                f"{'; '.join(differences)}"
            )


def _python() -> Path:
    """Return the Python of `dlt_dbt.py`'s environment, which is made if it is missing or its requirements changed."""
    python, made_of = _ENVIRONMENT / "bin" / "python", _ENVIRONMENT / "requirements.txt"
    if not made_of.exists() or made_of.read_text() != _REQUIREMENTS.read_text():
        venv.create(_ENVIRONMENT, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "-r", str(_REQUIREMENTS)]
        completed = subprocess.run(install, capture_output=True, text=True, check=False)  # noqa: S603 (our own command)
        if completed.returncode:
            raise BenchError(f"{_REQUIREMENTS} cannot be installed: {completed.stderr[-2000:]}")
        shutil.copy(_REQUIREMENTS, made_of)
    return python
