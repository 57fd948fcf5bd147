"""A table of the shop, and a curated table, are added by a file and a line each, and everything else follows."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orders_lakehouse.settings import PROJECT
from tests.support import new_table
from tests.support.lakehouse import Lakehouse

pytestmark = [pytest.mark.slow, pytest.mark.long]

SHOP = """
INSERT INTO shop.orders (order_id, ordered_at, status, currency, updated_at) VALUES
  ('o1', '2017-01-01 10:00+00', 'paid', 'EUR', '2017-01-01 10:00+00'),
  ('o2', '2017-01-02 10:00+00', 'paid', 'EUR', '2017-01-02 10:00+00');
"""

LAYERS = ("raw", "cleansed", "quarantine")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project with the two tables: two files, and two lines."""
    made = tmp_path / "project"
    for folder in ("orders_lakehouse", "dbt_project"):
        shutil.copytree(PROJECT / folder, made / folder, ignore=shutil.ignore_patterns("__pycache__", "logs"))
    package, files = made / "orders_lakehouse", Path(new_table.__file__).parent
    for room, name in (("entities", "parcels"), ("curated", "carriers")):
        shutil.copy(files / f"{name}.py", package / room)
        registry = package / room / "registry.py"
        declared = {"entities": "ENTITY", "curated": "CURATED"}[room]
        imported, _, listed = registry.read_text().rstrip().rstrip(")").partition(": tuple[")
        module = f"from orders_lakehouse.{room} import {name}\n"
        imported = imported.replace("\nfrom ", f"\n{module}from ", 1)
        registry.write_text(f"{imported}: tuple[{listed.rstrip().rstrip(',')}, {name}.{declared})\n")
    return made


def test_new_table_works_in_every_layer(lakehouse: Lakehouse, project: Path) -> None:
    lakehouse.shop(SHOP)
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.new_table.scenario"],
        env={**os.environ, "PYTHONPATH": f"{project}{os.pathsep}{PROJECT}"},
        cwd=project,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    checks = found.pop("checks")
    assert found == {
        "failures without the table": [],
        "failures of the run": [],
        "raw": [["s1", "1.5"], ["s2", "3"], ["s3", "-1"], ["s4", "1"]],
        "cleansed": [["s1", "2017-01-01", "1.500000"], ["s2", "2017-01-01", "3.000000"]],
        "quarantine": [["s3", "weight_not_positive"], ["s4", "order_unknown"]],
        "accounts": [4, 2, 2, 0],
        "carriers": [["2017-01-01", "fast", "1", "1.500000"], ["2017-01-01", "slow", "1", "3.000000"]],
        "copy": [["s1", "2017-01-01", "1.500000"], ["s2", "2017-01-01", "3.000000"]],
        "asked by sensors": [
            ["capture_changes_job", "2017-01-02", "2017-01-03"],
            ["derive_dates_job", "2017-01-01", "2017-01-01"],
        ],
        "carriers after the change": [["2017-01-01", "fast", "1", "2.000000"], ["2017-01-01", "slow", "1", "3.000000"]],
        "failures with a waiver": [],
        "carriers with a waiver": ["2017-01-02", "slow", "-1.000000"],
        "dictionary": [*(f"{layer}.parcels" for layer in LAYERS), "curated.carriers"],
    }
    assert {"parcels_contract", "carriers_contract", "no_row_lost", "raw_matches_source", "stands_once"} <= {*checks}
