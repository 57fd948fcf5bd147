"""Declare checks of a run's dates. Each part is judged in the state in which the run found and left the lake."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.defs.checks.check_reporting import (
    Judged,
    report,
    severity_of,
    started,
)
from orders_lakehouse.defs.metadata import key_of, priority
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.delta.log import Part, parts_of_run
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.partitions import run_dates
from orders_lakehouse.tables import CLEANSED, QUARANTINE_OF, stops
from orders_lakehouse.warehouse.copies import COPIES
from orders_lakehouse.warehouse.load import loaded_versions


def run_check(table: Table | dg.AssetKey, name: str, description: str) -> Callable[[Any], dg.AssetChecksDefinition]:
    """Declare a check of the run's dates, or of the whole table where it has no dates.

    The decorated function judges the parts of the run, each in the state in which the run found and left the lake.
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
                # Judge only this run's snapshot, and not what other runs write meanwhile.
                if isinstance(table, Table):
                    parts = parts_of_run(lake, written_with(table), context.run.run_id, started(context), dates)
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


def written_with(table: Table) -> list[Table]:
    """Return a table and, for a cleansed one, its quarantine."""
    return [table, *([QUARANTINE_OF[table.name]] if table in CLEANSED else [])]


def dated(parts: Sequence[Part]) -> Iterator[tuple[Lake, tuple[date, date]]]:
    """Yield the parts of a table that has dates."""
    for lake, dates in parts:
        assert dates is not None  # noqa: S101 (the table has dates)
        yield lake, dates
