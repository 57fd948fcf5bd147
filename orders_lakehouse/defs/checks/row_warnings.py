"""Checks that no row of a cleansed table has a warning."""

from collections.abc import Sequence

import polars as pl

from orders_lakehouse.contracts.checks import NO_WARNINGS
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.defs.checks.check_reporting import Judged
from orders_lakehouse.defs.checks.run_checks import RunCheck, dated, run_check
from orders_lakehouse.delta.log import Part
from orders_lakehouse.pipeline.row_warnings import can_warn, warnings_by_date
from orders_lakehouse.tables import CLEANSED


def _no_warnings(table: Table) -> RunCheck:
    description = (
        "No row has a warning: for a value that was removed, for one that stayed although it breaks a rule, or for "
        "a code on a date on which it was not valid."
    )

    @run_check(table, NO_WARNINGS, description)
    def no_warnings(parts: Sequence[Part]) -> Judged:
        warned = [warnings_by_date(lake, table, *dates) for lake, dates in dated(parts)]
        return verdicts_on(pl.concat(warned), table), {}

    return no_warnings


def verdicts_on(warned: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Return the verdicts on dates on which rows of a cleansed table warn.

    Args:
        warned: date, warning, rows, sample (keys).
        table: The table.

    Returns:
        date, passed, expected, found, detail; a row for each date.
    """
    keys = pl.col("sample").list.join(", ")
    verdicts = warned.group_by("date").agg(
        passed=pl.lit(value=False),
        expected=pl.lit("no row with a warning"),
        found=pl.format("{}: {} rows", "warning", "rows").str.join("; "),
        detail=pl.format("{} ({})", "warning", keys).str.join("; "),
    )
    return verdicts.with_columns(
        detail=pl.format(
            '{}. The rows: lakehouse sql "select * from cleansed.{} where warnings is not null"',
            "detail",
            pl.lit(table.name),
        )
    ).sort("date")


warning_checks = [_no_warnings(table) for table in CLEANSED if can_warn(table)]
