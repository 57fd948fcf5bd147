"""Asset checks, made by factories from the contracts and the accounts.

All of them block, but that on losses and those of dimensions, which warn instead.

A check looks at the run's dates, in the stored tables, and gives a verdict on each of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import dagster as dg
import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.base import failure_cases, personal_columns
from orders_lakehouse.contracts.checks import LOSSES_ARE_FEW
from orders_lakehouse.contracts.personal import MASK
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import MONEY_SUM, Frame
from orders_lakehouse.curated.base import Fact
from orders_lakehouse.defs.checks.check_reporting import (
    VERDICT,
    Judged,
    report,
    report_what_is_new,
    severity_of,
    started,
)
from orders_lakehouse.defs.metadata import FEW, few_of, key_of, priority, table_of
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.delta.batches import memory_for
from orders_lakehouse.delta.date_predicates import day_of
from orders_lakehouse.delta.frames import collect, rows_of
from orders_lakehouse.delta.log import Part, parts_of_run
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.children import OF_THE_ORDER, ORDERED_BEFORE_START
from orders_lakehouse.partitions import run_dates
from orders_lakehouse.pipeline import row_accounting
from orders_lakehouse.pipeline.batches import batches_by_versions
from orders_lakehouse.pipeline.key_index import places_of
from orders_lakehouse.pipeline.losses import ENOUGH_OF_DATES, ENOUGH_OF_TABLE, LAST_DATES, Loss, losses
from orders_lakehouse.pipeline.row_accounting import Accounts
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.pipeline.waivers import configured_waivers, excused
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import CLEANSED, CURATED, FACTS, QUARANTINE_OF, stops
from orders_lakehouse.transforms.split import breaks
from orders_lakehouse.warehouse.copies import COPIES
from orders_lakehouse.warehouse.facts import fact_totals
from orders_lakehouse.warehouse.load import loaded_versions

# Of so many rows that break a rule, it is told which ones; of those beyond, how many.
_TOLD = 10_000
# With fewer rows on a date, a share says nothing.
_ENOUGH_ROWS = 20


def _check(table: Table | dg.AssetKey, name: str, description: str) -> Callable[[Any], dg.AssetChecksDefinition]:
    """A check of the run's dates; of the whole table, where it has none.

    What is decorated judges the parts of the run, each in the state in which the run found and left the lake.
    """
    asset = key_of(table) if isinstance(table, Table) else table
    dated = not isinstance(table, Table) or table.partitioned_by is not None
    blocks = stops(asset.to_user_string(), name)

    def decorate(judge: Callable[[Sequence[Part]], Judged]) -> dg.AssetChecksDefinition:
        tags = priority(table) if isinstance(table, Table) else {}

        @dg.asset_check(asset=asset, name=name, description=description, blocking=blocks, op_tags=tags)
        def check(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
            dates = run_dates(context) if dated else None
            with failures(context):
                # What other runs do meanwhile is theirs to answer for.
                if isinstance(table, Table):
                    parts = parts_of_run(lake, _written_with(table), context.run.run_id, started(context), dates)
                else:
                    # A fact is made of the copies in the warehouse.
                    loaded = loaded_versions()
                    held = {copy.table.path: loaded[copy.name] for copy in COPIES if copy.name in loaded}
                    parts = [Part(lake.source(held), dates)]
                verdicts, metadata = judge(parts)
                severity = severity_of(dg.AssetCheckKey(asset, name))
                return report(
                    context, lake, dg.AssetCheckKey(asset, name), verdicts, dates, severity=severity, metadata=metadata
                )

        return check

    return decorate


def _written_with(table: Table) -> list[Table]:
    """A table and its quarantine."""
    return [table, *([QUARANTINE_OF[table.name]] if table in CLEANSED else [])]


def _contract(table: Table) -> dg.AssetChecksDefinition:
    description = f"Every row of {table.path} holds the contract {table.model.__name__}, but for what is waived."

    @_check(table, f"{table.name}_contract", description)
    def contract(parts: Sequence[Part]) -> Judged:
        rows, broken, known, beyond = 0, [], [], []
        for lake, dates in parts:
            rows += row_accounting.row_count(lake, table, dates)
            found, more = suspects(lake.scan(table, between=dates), table)
            excuses = excused(lake, table, found, dates, configured_waivers(lake))
            is_excused = pl.int_range(pl.len(), dtype=pl.UInt32).is_in(excuses["index"].implode())
            broken.append(broken_rules(table, found.filter(~is_excused) if excuses.height else found))
            known.append(excuses.drop("index"))
            beyond.append(more)
        return _of_contract(rows, pl.concat(broken), pl.concat(known), beyond, dated=table.partitioned_by is not None)

    return contract


def suspects(rows: Frame, table: Table, most: int = _TOLD) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that break a rule of their contract: wherever a table is computed, the rules find them there.

    Args:
        rows: Rows of the table.
        table: A cleansed or curated table.
        most: How many of them are fetched.

    Returns:
        The first of them, in the order of their keys; and date, rule, rows, sample: how many there are beyond.
    """
    breaking = rows.filter(breaks(table))
    found = rows_of(breaking.head(most)).sort(table.key)
    beyond = pl.DataFrame(schema={"date": pl.Date, "rule": pl.String, "rows": pl.UInt32, "sample": pl.String})
    if found.height < most:
        return found, beyond
    partition = table.partitioned_by
    dated = breaking.with_columns(date=nw.col(partition) if partition else nw.lit(None).cast(nw.Date))
    more = rows_of(dated.group_by("date").agg(rows=nw.len())).join(
        found.group_by(date=day_of(table)).agg(told=pl.len()), on="date", how="left", nulls_equal=True
    )
    counted = more.select("date", rule=pl.lit("some rule"), rows=pl.col("rows") - pl.col("told").fill_null(0))
    return found, counted.filter(pl.col("rows") > 0).with_columns(sample=pl.lit("…")).cast(beyond.schema)


def _of_contract(
    rows: int, broken: pl.DataFrame, known: pl.DataFrame, beyond: Sequence[pl.DataFrame], *, dated: bool
) -> Judged:
    """The verdict on so many rows, of which some break rules, some are known to, and some are not told of each."""
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
    """Validate stored rows by their Pandera model.

    Args:
        table: Table of the rows.
        rows: Its columns.

    Returns:
        date (partition; null without one), row (key, as text), rule, value (as text; a personal one is masked, and a
        rule over several columns has none): one row for each rule that a row breaks, and one without a row for each
        column that is missing or of another type.
    """
    judged = rows.filter(pl.col("is_deleted").ne_missing(True)) if "is_deleted" in rows.columns else rows
    partition = table.partitioned_by
    schema = {"date": pl.Date, "row": pl.String, "rule": pl.String, "value": pl.String}
    cases = failure_cases(table.model, judged)
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


def _no_row_lost(table: Table) -> dg.AssetChecksDefinition:
    description = (
        "Captured versions = current + superseded + deleted + quarantined, by date; and in total, when the run covers "
        "every date that raw knows of."
    )

    @_check(table, "no_row_lost", description)
    def no_row_lost(parts: Sequence[Part]) -> Judged:
        balances, books = [], Accounts(0, 0, 0, 0, 0)
        for lake, (first, last) in _dated(parts):
            places = places_of(table, first, last)
            for portion in batches_by_versions(lake, table, first, last):
                with memory_for(portion):
                    of_portion = row_accounting.balance(lake, table, *portion.span, calendar_of(lake), places)
                    books += row_accounting.accounts_of_dates(lake, table, *portion.span, of_portion)
                balances.append(of_portion)
        by_date = pl.concat(balances)
        verdicts = by_date.select(
            "date",
            passed=pl.col("captured") == pl.col("accounted"),
            expected=pl.format("{} versions captured", "captured"),
            found=pl.format("{} accounted for", "accounted"),
            detail=pl.lit(None, pl.String),
        )
        latest, dates = list(_dated(parts))[-1]
        unknown = row_accounting.dates_without_entries(latest, table)
        # Where others wrote between the parts of the run, no one state of the lake tells of all dates.
        whole = verdicts["passed"].all() and len(parts) == 1 and row_accounting.covers_everything(latest, table, *dates)
        missing = row_accounting.missing(latest, table) if whole else 0
        if unknown or missing:
            # By date nothing is missing, because no date finds them.
            lost = {
                "date": None,
                "passed": False,
                "expected": "an entry in raw/key_dates for every version captured",
                "found": f"{len(unknown)} capture dates without" if unknown else f"{missing} versions without",
                "detail": "`lakehouse rebuild-key-dates`, then derive all dates anew",
            }
            verdicts = pl.DataFrame([lost], schema=VERDICT)
        return verdicts, {
            "expected (captured)": int(by_date["captured"].sum()),
            "found (accounted)": int(by_date["accounted"].sum()),
            "accounts": dg.MetadataValue.json({**asdict(books), "missing": books.missing}),
            **few_of(by_date.filter(pl.col("captured") != pl.col("accounted"))),
        }

    return no_row_lost


def _few_are_rejected(table: Table) -> dg.AssetChecksDefinition:
    """That few rows are rejected: on each date of the run, and by no rule of most of the table; in one step."""
    limit, asset = settings().quarantine_limit, key_of(table)
    share = dg.AssetCheckSpec(
        "rejected_share",
        asset=asset,
        description=(
            f"At most {limit:.0%} of a date's rows are rejected for what they are themselves (dates of fewer than "
            f"{_ENOUGH_ROWS} rows aside, rows that wait for their order, and orders from before the first partition): "
            "more is a broken load rather than a few bad rows, and a missing number is better than a wrong one."
        ),
        blocking=stops(table.path, "rejected_share"),
    )
    few = dg.AssetCheckSpec(
        LOSSES_ARE_FEW,
        asset=asset,
        description=(
            f"No rule rejects more than {limit:.0%} of the rows of the last {LAST_DATES} dates that have rows (from "
            f"{ENOUGH_OF_DATES} rows on), or of the whole table (from {ENOUGH_OF_TABLE}). A row that waits for its "
            "order counts once a day has gone by. Most often the shop says something in other words than the contract."
        ),
    )

    @dg.multi_asset_check(
        name=f"{'__'.join(asset.path)}_few_are_rejected",
        specs=[share, few],
        can_subset=True,
        op_tags=priority(table),
    )
    def few_are_rejected(
        context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]
    ) -> Iterator[dg.AssetCheckResult]:
        dates = run_dates(context)
        with failures(context):
            if share.key in context.selected_asset_check_keys:
                parts = parts_of_run(lake, _written_with(table), context.run.run_id, started(context), dates)
                rejected = pl.concat(_rejected(held, table, within) for held, within in _dated(parts))
                verdicts, metadata = rejected_shares(rejected, limit)
                severity = severity_of(share.key)
                yield report(context, lake, share.key, verdicts, dates, severity=severity, metadata=metadata)
            if few.key in context.selected_asset_check_keys:
                verdict, told = of_losses(losses(lake.snapshot(), table, limit), limit)
                yield report_what_is_new(context, lake, few.key, verdict, dg.AssetCheckSeverity.ERROR, told)

    return few_are_rejected


def rejected_shares(rejected: pl.DataFrame, limit: float) -> Judged:
    """Whether the rejected rows of dates are few enough.

    Args:
        rejected: date, bad, good, rows.
        limit: The share of them that may be bad.

    Returns:
        A verdict for each date, and what the summary says.
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


def of_losses(found: Sequence[Loss], limit: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """The verdict on what a table loses, and what the summary says."""
    verdict = {
        "date": None,
        "passed": not found,
        "expected": f"no rule rejects more than {limit:.0%} of the rows",
        "found": "; ".join(loss.in_words for loss in found) or None,
        "detail": "; ".join(f"{loss.rule}: {loss.values}" for loss in found if loss.values) or None,
    }
    return verdict, {loss.rule: f"{loss.rejected:,} of {loss.rows:,} rows" for loss in found}


def _rejected(lake: Lake, table: Table, dates: tuple[date, date]) -> pl.DataFrame:
    """Dates that have rejected rows: date, bad, good, rows."""
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


def _dated(parts: Sequence[Part]) -> Iterator[tuple[Lake, tuple[date, date]]]:
    """The parts of a table that has dates."""
    for lake, dates in parts:
        assert dates is not None  # noqa: S101 (the table has dates)
        yield lake, dates


# Lines and totals of a side by date: of a lake, a first and a last date, it makes date, lines, total.
_Totals = Callable[[Lake, date, date], pl.DataFrame]


def _total_matches(
    asset: Table | dg.AssetKey, fact: Fact, of: Table, first_side: tuple[str, _Totals], second_side: tuple[str, _Totals]
) -> dg.AssetChecksDefinition:
    """Check that two sides, each by its name, have the same lines and totals."""
    sides = (first_side[0], second_side[0])

    @_check(asset, f"{fact.measure}_matches", f"Lines and {fact.measure} of each date are those of {of.path}.")
    def total_matches(parts: Sequence[Part]) -> Judged:
        expected, found = (
            pl.concat(totals(lake, *dates) for lake, dates in _dated(parts)) for _, totals in (first_side, second_side)
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
    standing = rows.filter(~nw.col("is_deleted")) if "is_deleted" in table.columns else rows
    by_date = standing.group_by(nw.col("order_date").alias("date")).agg(lines=nw.len(), total=nw.col(measure).sum())
    (totals,) = collect(by_date)
    return totals.cast({"lines": pl.Int64, "total": pl.Decimal(*MONEY_SUM)})


def _of_fact(table: Table, fact: Fact) -> list[dg.AssetChecksDefinition]:
    """That a table has the rows and totals of the one before it, and the fact those of the table."""

    def totals_of(of: Table) -> _Totals:
        return lambda lake, first, last: _lake_totals(lake, of, fact.measure, first, last)

    def in_fact(_: Lake, first: date, last: date) -> pl.DataFrame:
        return fact_totals(fact, first, last).rename({"order_date": "date"})

    before, own = (fact.same_total.layer, totals_of(fact.same_total)), (table.layer, totals_of(table))
    return [
        _total_matches(table, fact, fact.same_total, before, own),
        _total_matches(dg.AssetKey(["marts", fact.name]), fact, table, own, ("fact", in_fact)),
    ]


contract_checks = [_contract(table) for table in (*CLEANSED, *CURATED)]
account_checks = [_no_row_lost(table) for table in CLEANSED]
share_checks = [_few_are_rejected(table) for table in CLEANSED]
total_price_checks = [check for curated, fact in FACTS for check in _of_fact(curated.table, fact)]
