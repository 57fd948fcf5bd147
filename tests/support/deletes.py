"""Rows that the shop deletes, and the comparison with the shop that finds them."""

from pathlib import Path

import polars as pl

from orders_lakehouse.pipeline.check_results import latest
from orders_lakehouse.tables import RAW
from tests.support.lakehouse import Lakehouse, assert_same_lake, failures, not_accounted_for, ran

MARTS = "group:marts"
FIRST, LAST = "2017-01-01", "2017-01-10"
AGREES = "agrees_with_shop"


def reconciled(lakehouse: Lakehouse, how: str = "apply") -> None:
    """Compare all rows with the shop and heal differences, as the command does; tell the oracle."""
    result = lakehouse.run_job("reconcile_job", reconcile=how)
    assert result.success, failures(result)
    if how != "compare":
        lakehouse.oracle.reconcile()


def disagreeing(lakehouse: Lakehouse) -> dict[tuple[str, str], str]:
    """Return the disagreements with the shop, by table and date."""
    rows = latest(lakehouse.lake, check_name=AGREES).filter(~pl.col("passed"))
    return {(row["asset"], str(row["date"])): row["detail"] for row in rows.iter_rows(named=True)}


def versions(lakehouse: Lakehouse) -> dict[str, int]:
    return {table.path: lakehouse.lake.open(table).version() for table in RAW}


def all_is_well(lakehouse: Lakehouse, home: Path) -> None:
    """Assert that the lake shows the shop, accounts for every version, and equals a full refresh from raw."""
    assert disagreeing(lakehouse) == {}
    assert lakehouse.wrong_curated() == {}
    assert not_accounted_for(lakehouse) == {}
    again = lakehouse.copy_of_lake(home / "again", "raw")
    ran(again, FIRST, LAST, select="group:cleansed or group:curated")
    assert_same_lake(lakehouse, again)
