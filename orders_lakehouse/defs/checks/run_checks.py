"""Declare checks of a run's dates. Each part is judged in the state in which the run found and left the lake."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.defs.checks.check_reporting import (
    VERDICT,
    Judged,
    Report,
    report_all,
    severity_of,
    started,
)
from orders_lakehouse.defs.metadata import key_of, priority
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.delta.log import Part, parts_of_run
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.partitions import run_dates
from orders_lakehouse.pipeline.row_accounting import was_never_captured
from orders_lakehouse.tables import CLEANSED, QUARANTINE_OF, stops
from orders_lakehouse.warehouse.copies import COPIES
from orders_lakehouse.warehouse.load import loaded_versions


@dataclass(frozen=True)
class RunCheck:
    """A check of the run's dates, or of a whole table.

    Attributes:
        asset: The checked asset.
        table: Its lake table; None for a mart.
        name: Name of the check.
        description: Description of the check.
        judge: Judges the parts of the run, each in the state in which the run found and left the lake.
        judge_table: Judges the whole table as it is now, instead: returns a verdict, and metadata of the summary.
    """

    asset: dg.AssetKey
    table: Table | None
    name: str
    description: str
    judge: Callable[[Sequence[Part]], Judged] | None = None
    judge_table: Callable[[Lake], tuple[Mapping[str, Any], Mapping[str, Any]]] | None = None

    @property
    def key(self) -> dg.AssetCheckKey:
        """Return the key of the check."""
        return dg.AssetCheckKey(self.asset, self.name)


def run_check(
    table: Table | dg.AssetKey, name: str, description: str
) -> Callable[[Callable[[Sequence[Part]], Judged]], RunCheck]:
    """Declare a check of the run's dates, or of the whole table where it has no dates, by a function that judges."""
    own = table if isinstance(table, Table) else None
    asset = key_of(table) if isinstance(table, Table) else table
    return lambda judge: RunCheck(asset, own, name, description, judge)


def steps_of(checks: Iterable[RunCheck]) -> list[dg.AssetChecksDefinition]:
    """Return a step for each asset, which evaluates all its checks and stores their verdicts in one commit."""
    by_asset: dict[dg.AssetKey, list[RunCheck]] = {}
    for check in checks:
        by_asset.setdefault(check.asset, []).append(check)
    return [_step(asset, of_asset) for asset, of_asset in by_asset.items()]


def _step(asset: dg.AssetKey, checks: Sequence[RunCheck]) -> dg.AssetChecksDefinition:
    table = checks[0].table
    specs = [
        dg.AssetCheckSpec(
            check.name,
            asset=asset,
            description=check.description,
            blocking=stops(asset.to_user_string(), check.name),
        )
        for check in checks
    ]

    @dg.multi_asset_check(
        name=f"{'__'.join(asset.path)}_is_checked",
        specs=specs,
        can_subset=True,
        op_tags=priority(table) if table else {},
    )
    def evaluated(
        context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]
    ) -> Iterator[dg.AssetCheckResult]:
        selected = [check for check in checks if check.key in context.selected_asset_check_keys]
        with failures(context):
            if table is not None and was_never_captured(lake, table):
                yield from (_without_rows(check) for check in selected)
                return
            parts = _parts(context, lake, table)
            yield from report_all(context, lake, [_report(context, lake, check, parts) for check in selected])

    return evaluated


def _without_rows(check: RunCheck) -> dg.AssetCheckResult:
    """Return that a check passes, because the shop has no such table. Nothing is stored: there is no date to judge."""
    key = check.key
    return dg.AssetCheckResult(
        asset_key=key.asset_key, check_name=key.name, passed=True, metadata={"rows": 0, "judged": "no row was captured"}
    )


def _parts(context: dg.AssetCheckExecutionContext, lake: Lake, table: Table | None) -> list[Part]:
    """Return the parts of the run: only this run's snapshots, and not what other runs write meanwhile."""
    if table is not None:
        dates = run_dates(context) if table.partitioned_by else None
        return parts_of_run(lake, written_with(table), context.run.run_id, started(context), dates)
    # A fact is made of the copies in the warehouse.
    loaded = loaded_versions()
    held = {copy.table.path: loaded[copy.name] for copy in COPIES if copy.name in loaded}
    return [Part(lake.source(held), run_dates(context))]


def _report(context: dg.AssetCheckExecutionContext, lake: Lake, check: RunCheck, parts: Sequence[Part]) -> Report:
    if check.judge is None:
        assert check.judge_table is not None  # noqa: S101 (a check has one of them)
        verdict, metadata = check.judge_table(lake.snapshot())
        verdicts = pl.DataFrame([verdict], schema=VERDICT)
        return Report(check.key, verdicts, None, metadata=metadata, only_new=True)
    verdicts, metadata = check.judge(parts)
    has_dates = check.table is None or check.table.partitioned_by is not None
    dates = run_dates(context) if has_dates else None
    return Report(check.key, verdicts, dates, severity_of(check.key), metadata)


def written_with(table: Table) -> list[Table]:
    """Return a table and, for a cleansed one, its quarantine."""
    return [table, *([QUARANTINE_OF[table.name]] if table in CLEANSED else [])]


def dated(parts: Sequence[Part]) -> Iterator[tuple[Lake, tuple[date, date]]]:
    """Yield the parts of a table that has dates."""
    for lake, dates in parts:
        assert dates is not None  # noqa: S101 (the table has dates)
        yield lake, dates
