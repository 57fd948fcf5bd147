"""Checks that each layer has the same lines and totals of a date as the layer before it, up to the fact."""

from collections.abc import Callable, Sequence
from datetime import date

import dagster as dg
import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import MONEY_SUM
from orders_lakehouse.curated.base import Fact
from orders_lakehouse.defs.checks.check_reporting import (
    Judged,
)
from orders_lakehouse.defs.checks.run_checks import RunCheck, dated, run_check
from orders_lakehouse.defs.metadata import few_of
from orders_lakehouse.delta.frames import collect
from orders_lakehouse.delta.log import Part
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.tables import FACTS
from orders_lakehouse.warehouse.facts import fact_totals

# Function from a lake, a first and a last date to the lines and totals of one side: date, lines, total.
_Totals = Callable[[Lake, date, date], pl.DataFrame]


def _total_matches(
    asset: Table | dg.AssetKey, fact: Fact, of: Table, first_side: tuple[str, _Totals], second_side: tuple[str, _Totals]
) -> RunCheck:
    """Make a check that two sides, each with its name, have the same lines and totals."""
    sides = (first_side[0], second_side[0])

    @run_check(asset, f"{fact.measure}_matches", f"Each date has the same lines and {fact.measure} as in {of.path}.")
    def total_matches(parts: Sequence[Part]) -> Judged:
        expected, found = (
            pl.concat(totals(lake, *dates) for lake, dates in dated(parts)) for _, totals in (first_side, second_side)
        )
        both = expected.join(found, on="date", how="full", coalesce=True, suffix="_found").with_columns(
            pl.col("lines", "lines_found").fill_null(0), pl.col("total", "total_found").fill_null(0)
        )
        equal = (pl.col("lines") == pl.col("lines_found")) & (pl.col("total") == pl.col("total_found"))
        verdicts = both.select(
            "date",
            passed=equal,
            expected=pl.format("{} lines, {}", "lines", "total"),
            found=pl.format("{} lines, {}", "lines_found", "total_found"),
            detail=pl.lit(None, pl.String),
        )
        return verdicts, {
            f"expected ({sides[0]})": f"{expected['lines'].sum()} lines, {expected['total'].sum()}",
            f"found ({sides[1]})": f"{found['lines'].sum()} lines, {found['total'].sum()}",
            **few_of(both.filter(~equal).sort("date")),
        }

    return total_matches


def _lake_totals(lake: Lake, table: Table, measure: str, first: date, last: date) -> pl.DataFrame:
    rows = lake.scan(table, between=(first, last))
    not_deleted = rows.filter(~nw.col("is_deleted")) if "is_deleted" in table.columns else rows
    by_date = not_deleted.group_by(nw.col("order_date").alias("date")).agg(lines=nw.len(), total=nw.col(measure).sum())
    (totals,) = collect(by_date)
    return totals.cast({"lines": pl.Int64, "total": pl.Decimal(*MONEY_SUM)})


def _of_fact(table: Table, fact: Fact) -> list[RunCheck]:
    """Make the checks that a table equals the one before it, and that the fact equals the table."""

    def totals_of(of: Table) -> _Totals:
        return lambda lake, first, last: _lake_totals(lake, of, fact.measure, first, last)

    def in_fact(_: Lake, first: date, last: date) -> pl.DataFrame:
        return fact_totals(fact, first, last).rename({"order_date": "date"})

    before, own = (fact.same_total.layer, totals_of(fact.same_total)), (table.layer, totals_of(table))
    return [
        _total_matches(table, fact, fact.same_total, before, own),
        _total_matches(dg.AssetKey(["marts", fact.name]), fact, table, own, ("fact", in_fact)),
    ]


total_checks = [check for curated, fact in FACTS for check in _of_fact(curated.table, fact)]
