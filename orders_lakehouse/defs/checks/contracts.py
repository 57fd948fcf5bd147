"""Checks of contracts and of the row accounting, for each table.

All of them block, except those of dimensions, which warn. A check reads the run's dates in the stored tables, and gives
a verdict on each date.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg
import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.base import failure_cases, personal_columns
from orders_lakehouse.contracts.personal import MASK
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.defs.checks.check_reporting import (
    VERDICT,
    Judged,
)
from orders_lakehouse.defs.checks.run_checks import RunCheck, dated, run_check
from orders_lakehouse.defs.metadata import FEW, few_of, table_of
from orders_lakehouse.delta.batches import memory_for
from orders_lakehouse.delta.date_predicates import day_of
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import Part
from orders_lakehouse.pipeline import row_accounting
from orders_lakehouse.pipeline.batches import batches_by_versions
from orders_lakehouse.pipeline.key_index import locator_of
from orders_lakehouse.pipeline.row_accounting import Accounts
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.pipeline.waivers import configured_waivers, excused
from orders_lakehouse.tables import CLEANSED, CURATED
from orders_lakehouse.transforms.split import breaks

# Maximum broken rows listed individually; more are only counted.
_LISTED = 10_000


def _contract(table: Table) -> RunCheck:
    description = f"Every row of {table.path} holds the contract {table.model.__name__}, except for waived rules."

    @run_check(table, f"{table.name}_contract", description)
    def contract(parts: Sequence[Part]) -> Judged:
        rows, broken, known, beyond = 0, [], [], []
        for lake, dates in parts:
            rows += row_accounting.row_count(lake, table, dates)
            suspected, more = suspects(lake.scan(table, between=dates), table)
            excuses = excused(lake, table, suspected, dates, configured_waivers(lake))
            is_excused = pl.int_range(pl.len(), dtype=pl.UInt32).is_in(excuses["index"].implode())
            broken.append(broken_rules(table, suspected.filter(~is_excused) if excuses.height else suspected))
            known.append(excuses.drop("index"))
            beyond.append(more)
        return _contract_verdicts(
            rows, pl.concat(broken), pl.concat(known), beyond, dated=table.partitioned_by is not None
        )

    return contract


def suspects(rows: Frame, table: Table, most: int = _LISTED) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Find rows that break a rule of their contract, on the engine that computes the table.

    Args:
        rows: Rows of the table.
        table: A cleansed or curated table.
        most: Maximum number of rows fetched.

    Returns:
        The first of these rows, ordered by key; and date, rule, rows, sample: numbers of further rows.
    """
    breaking = rows.filter(breaks(table))
    fetched = rows_of(breaking.head(most)).sort(table.key)
    beyond = pl.DataFrame(schema={"date": pl.Date, "rule": pl.String, "rows": pl.UInt32, "sample": pl.String})
    if fetched.height < most:
        return fetched, beyond
    partition = table.partitioned_by
    dated = breaking.with_columns(date=nw.col(partition) if partition else nw.lit(None).cast(nw.Date))
    more = rows_of(dated.group_by("date").agg(rows=nw.len())).join(
        fetched.group_by(date=day_of(table)).agg(fetched=pl.len()), on="date", how="left", nulls_equal=True
    )
    counted = more.select("date", rule=pl.lit("some rule"), rows=pl.col("rows") - pl.col("fetched").fill_null(0))
    return fetched, counted.filter(pl.col("rows") > 0).with_columns(sample=pl.lit("…")).cast(beyond.schema)


def _contract_verdicts(
    rows: int, broken: pl.DataFrame, known: pl.DataFrame, beyond: Sequence[pl.DataFrame], *, dated: bool
) -> Judged:
    """Return the verdicts on a number of rows, some of which break rules, are excused, or are only counted."""
    by_rule = broken.group_by("date", "rule").agg(rows=pl.len(), sample=pl.col("row").head(3).str.join(", "))
    by_rule = pl.concat([by_rule, *beyond])
    verdicts = by_rule.group_by("date").agg(
        passed=pl.lit(False),
        expected=pl.lit("no row breaks a rule"),
        found=pl.format("{} broken rules", pl.col("rows").sum()),
        detail=pl.format("{}: {} rows ({})", "rule", "rows", "sample").sort().str.join("; "),
    )
    metadata: dict[str, Any] = {"rows": rows, "expected": "no row breaks a rule"}
    if by_rule.height:
        counted = by_rule.group_by("rule").agg(pl.col("rows").sum()).sort("rule")
        metadata["broken_rules"] = dg.MetadataValue.json(dict(counted.iter_rows()))
        metadata["sample"] = table_of(broken.head(FEW))
    if known.height:
        each = known.select(pl.col("rules").str.split(", ").explode().value_counts(sort=True)).unnest("rules")
        metadata["waived"] = dg.MetadataValue.json(dict(each.iter_rows()))
        metadata["waived_rows"] = table_of(known.head(FEW))
    if not dated and by_rule.is_empty():
        verdicts = pl.DataFrame([{"date": None, "passed": True}], schema=VERDICT)
    return verdicts, metadata


def broken_rules(table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    """Validate stored rows with their Pandera model.

    Args:
        table: Table of the rows.
        rows: Columns of that table.

    Returns:
        date (partition; null without one), row (key as text), rule, value (as text; masked if personal, null for a rule
        over several columns): a row for each rule that a row breaks, and one without `row` for each column that is
        missing or has another type.
    """
    judged = rows.filter(pl.col("is_deleted").ne_missing(True)) if "is_deleted" in rows.columns else rows
    partition = table.partitioned_by
    schema = {"date": pl.Date, "row": pl.String, "rule": pl.String, "value": pl.String}
    # Without rows, Pandera judges only columns and types.
    is_empty = judged.is_empty() and judged.schema == table.schema
    cases = None if is_empty else failure_cases(table.model, judged)
    if cases is None:
        return pl.DataFrame(schema=schema)
    keys = judged.select(
        date=pl.col(partition) if partition else pl.lit(None, pl.Date),
        row=pl.concat_str(pl.col(table.key).cast(pl.String), separator=" / ", ignore_nulls=True),
    ).with_row_index("index")
    personal = pl.col("column").is_in(list(personal_columns(table.model)))
    of_a_row = pl.col("index").is_not_null()
    value = (
        pl.when(of_a_row & (pl.col("schema_context") != "Column"))
        .then(None)
        .when(of_a_row & personal)
        .then(pl.lit(MASK))
        .otherwise(pl.col("failure_case").cast(pl.String))
    )
    return (
        cases.with_columns(pl.col("index").cast(pl.UInt32), value=value)
        .join(keys, on="index", how="left")
        .select(
            "date",
            "row",
            pl.concat_str(pl.col("column"), pl.col("check"), separator=": ", ignore_nulls=True).alias("rule"),
            "value",
        )
    )


def _no_row_lost(table: Table) -> RunCheck:
    description = (
        "Captured versions = current + superseded + deleted + quarantined, by date; also in total, if the run covers "
        "every date that raw knows."
    )

    @run_check(table, "no_row_lost", description)
    def no_row_lost(parts: Sequence[Part]) -> Judged:
        balances, books = [], Accounts(0, 0, 0, 0, 0)
        for lake, (first, last) in dated(parts):
            locator = locator_of(table, first, last)
            for batch in batches_by_versions(lake, table, first, last):
                with memory_for(batch):
                    batch_balance = row_accounting.balance(lake, table, *batch.span, calendar_of(lake), locator)
                    books += row_accounting.accounts_of_dates(lake, table, *batch.span, batch_balance)
                balances.append(batch_balance)
        by_date = pl.concat(balances)
        verdicts = by_date.select(
            "date",
            passed=pl.col("captured") == pl.col("accounted"),
            expected=pl.format("{} versions captured", "captured"),
            found=pl.format("{} accounted for", "accounted"),
            detail=pl.lit(None, pl.String),
        )
        latest, dates = list(dated(parts))[-1]
        unknown = row_accounting.dates_without_entries(latest, table)
        # If other runs wrote between the parts of this run, no single state of the lake covers all dates.
        whole = verdicts["passed"].all() and len(parts) == 1 and row_accounting.covers_everything(latest, table, *dates)
        missing = row_accounting.missing(latest, table) if whole else 0
        if unknown or missing:
            # The balance by date cannot show these versions, because no date finds them.
            lost = {
                "date": None,
                "passed": False,
                "expected": "an entry in raw/key_dates for every captured version",
                "found": f"{len(unknown)} capture dates without entries"
                if unknown
                else f"{missing} versions without entries",
                "detail": "`lakehouse rebuild-key-dates`, then derive all dates again",
            }
            verdicts = pl.DataFrame([lost], schema=VERDICT)
        return verdicts, {
            "expected (captured)": int(by_date["captured"].sum()),
            "found (accounted)": int(by_date["accounted"].sum()),
            "accounts": dg.MetadataValue.json({**asdict(books), "missing": books.missing}),
            **few_of(by_date.filter(pl.col("captured") != pl.col("accounted"))),
        }

    return no_row_lost


contract_checks = [_contract(table) for table in (*CLEANSED, *CURATED)]
account_checks = [_no_row_lost(table) for table in CLEANSED]
