"""Checks of rejected rows: their share of a date, and their share of a table by rule."""

from collections.abc import Sequence
from datetime import date
from typing import Any

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.checks import LOSSES_ARE_FEW
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.defs.checks.check_reporting import (
    Judged,
)
from orders_lakehouse.defs.checks.run_checks import RunCheck, dated, run_check
from orders_lakehouse.defs.metadata import few_of, key_of
from orders_lakehouse.delta.frames import collect
from orders_lakehouse.delta.log import Part
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.children import OF_THE_ORDER, ORDERED_BEFORE_START
from orders_lakehouse.pipeline.losses import ENOUGH_OF_DATES, ENOUGH_OF_TABLE, LAST_DATES, Loss, losses
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import CLEANSED, QUARANTINE_OF

# Minimum rows of a date for a share to mean something.
_ENOUGH_ROWS = 20


def _rejected_share(table: Table) -> RunCheck:
    limit = settings().quarantine_limit
    description = (
        f"At most {limit:.0%} of a date's rows are rejected for errors of their own. A larger share means a broken "
        "load rather than a few bad rows, and a missing number is better than a wrong one. Not counted are rows "
        f"that wait for their order, orders from before the first partition, and dates of fewer than "
        f"{_ENOUGH_ROWS} rows."
    )

    @run_check(table, "rejected_share", description)
    def rejected_share(parts: Sequence[Part]) -> Judged:
        return rejected_shares(pl.concat(_rejected(lake, table, dates) for lake, dates in dated(parts)), limit)

    return rejected_share


def _losses_are_few(table: Table) -> RunCheck:
    limit = settings().quarantine_limit
    return RunCheck(
        key_of(table),
        table,
        LOSSES_ARE_FEW,
        f"No rule rejects more than {limit:.0%} of the rows of the last {LAST_DATES} dates that have rows (with at "
        f"least {ENOUGH_OF_DATES} rows), or of the whole table (at least {ENOUGH_OF_TABLE}). A row that waits for "
        "its order counts after a day. The usual cause is that the shop uses other words than the contract.",
        judge_table=lambda lake: losses_verdict(losses(lake, table, limit), limit),
    )


def rejected_shares(rejected: pl.DataFrame, limit: float) -> Judged:
    """Judge whether the rejected rows of dates are few enough.

    Args:
        rejected: date, bad, good, rows.
        limit: The share of the rows that may be bad.

    Returns:
        A verdict for each date, and metadata of the summary.
    """
    rejected = rejected.with_columns(share=pl.col("bad") / pl.col("rows")).sort("date")
    verdicts = rejected.select(
        "date",
        passed=(pl.col("share") <= limit) | (pl.col("rows") < _ENOUGH_ROWS),
        expected=pl.lit(f"at most {limit:.0%} rejected"),
        found=pl.format("{} of {} rows rejected", "bad", "rows"),
        detail=pl.lit(None, pl.String),
    )
    return verdicts, few_of(rejected.filter(~verdicts["passed"]))


def losses_verdict(found: Sequence[Loss], limit: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the verdict on the losses of a table, and metadata of the summary."""
    verdict = {
        "date": None,
        "passed": not found,
        "expected": f"no rule rejects more than {limit:.0%} of the rows",
        "found": "; ".join(loss.in_words for loss in found) or None,
        "detail": "; ".join(f"{loss.rule}: {loss.values}" for loss in found if loss.values) or None,
    }
    return verdict, {loss.rule: f"{loss.rejected:,} of {loss.rows:,} rows" for loss in found}


def _rejected(lake: Lake, table: Table, dates: tuple[date, date]) -> pl.DataFrame:
    """Return dates that have rejected rows: date, bad, good, rows."""
    day = nw.col(str(table.partitioned_by)).alias("date")
    good = lake.scan(table, between=dates).group_by(day).agg(good=nw.len())
    bad = (
        lake.scan(QUARANTINE_OF[table.name], between=dates)
        .filter(~nw.col("reasons").str.contains("|".join((*OF_THE_ORDER, ORDERED_BEFORE_START))))
        .group_by(day)
        .agg(bad=nw.len())
    )
    (rejected,) = collect(
        bad.join(good, on="date", how="left")
        .with_columns(nw.col("good").fill_null(0))
        .with_columns(rows=nw.col("good") + nw.col("bad"))
    )
    return rejected


share_checks = [check for table in CLEANSED for check in (_rejected_share(table), _losses_are_few(table))]
