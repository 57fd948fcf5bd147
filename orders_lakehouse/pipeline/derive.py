"""Derive the dates of cleansed and curated tables, for every caller and on either engine."""

import logging
from collections.abc import Callable, Sequence
from datetime import date
from threading import Lock

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.curated.base import ByDate, Cumulative
from orders_lakehouse.delta.batches import Batch, batches_by_rows, memory_warning, replace_range
from orders_lakehouse.delta.frames import persist
from orders_lakehouse.delta.replaced import Replaced
from orders_lakehouse.delta.table_files import state_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.cleansing import cleanse
from orders_lakehouse.pipeline.batches import batches_by_versions
from orders_lakehouse.pipeline.cumulate import cumulate
from orders_lakehouse.pipeline.key_index import locator_of, versions_by_date
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.pipeline.waivers import configured_waivers
from orders_lakehouse.tables import CLEANSED, CURATED_OF, QUARANTINE_OF, entity_of

log = logging.getLogger(__name__)


def derived_with(table: Table) -> list[Table]:
    """Return the tables that one derivation writes, in this order.

    Quarantine is written first. If a crash follows, a row that has become invalid is in both tables, not in neither.
    """
    return [QUARANTINE_OF[table.name], table] if table in CLEANSED else [table]


def derive(
    lake: Lake,
    table: Table,
    dates: tuple[date, date] | None,
    run_id: str = "",
    warn: Callable[[str], None] = log.warning,
) -> list[Replaced]:
    """Derive dates of a table; a cleansed table's quarantine is derived with it.

    Args:
        lake: The lake, whose engine does the work.
        table: A cleansed or curated table.
        dates: First and last date. For a table without dates, the dates of the run: if they are few, only the changes
            since the last derivation are read. None derives everything.
        run_id: Run that the derivation is for.
        warn: Called before the work begins, for dates that need more memory than the settings allow.

    Returns:
        The outcome for each table of `derived_with`.
    """
    if table not in CLEANSED:
        recipe = CURATED_OF[table.name].recipe
        if isinstance(recipe, Cumulative):
            return [lake.replace_all(table, lambda source: cumulate(source, table, recipe, dates), run_id)]
        return _derive_by_date(lake, table, recipe, _required(dates), run_id, warn)
    entity, (first, last) = entity_of(table), _required(dates)
    waivers, locator, calendar = configured_waivers(lake), locator_of(table, first, last), calendar_of(lake)
    batches = batches_by_versions(lake, table, first, last)
    _warn_of_memory(lake, table, entity.raw, batches, warn)

    def make(source: Lake, begin: date, end: date) -> Sequence[Frame]:
        versions, states = versions_by_date(source, entity, begin, end, locator)
        good, bad = cleanse(entity, versions, (begin, end), calendar, waivers, states)
        return bad, good

    return replace_range(lake, derived_with(table), batches, make, run_id)


def _required(dates: tuple[date, date] | None) -> tuple[date, date]:
    assert dates is not None  # noqa: S101 (only a table without dates needs none)
    return dates


def _derive_by_date(
    lake: Lake, table: Table, recipe: ByDate, dates: tuple[date, date], run_id: str, warn: Callable[[str], None]
) -> list[Replaced]:
    batches = batches_by_rows(lake, recipe.dated[0], *dates)
    _warn_of_memory(lake, table, recipe.dated[0], batches, warn)
    lookups = _Lookups(recipe)

    def make(source: Lake, begin: date, end: date) -> Sequence[Frame]:
        dated = (source.scan(of, between=(begin, end)) for of in recipe.dated)
        return [recipe.make(*dated, *lookups.frames(source))]

    return replace_range(lake, [table], batches, make, run_id)


def _warn_of_memory(
    lake: Lake, table: Table, source: Table, batches: Sequence[Batch], warn: Callable[[str], None]
) -> None:
    warning = memory_warning(lake, table, source, batches)
    if warning is not None:
        warn(warning)


class _Lookups:
    """Frames that a table looks up regardless of dates. All batches share them until a looked-up table changes."""

    def __init__(self, recipe: ByDate) -> None:
        self._recipe = recipe
        self._lock = Lock()
        self._cached: tuple[Sequence[tuple[str, int]], Sequence[Frame]] | None = None

    def frames(self, lake: Lake) -> Sequence[Frame]:
        states = [state_of(lake.open(table)) for table, _ in self._recipe.lookups]
        with self._lock:
            if self._cached is None or self._cached[0] != states:
                self._cached = (states, [persist(make(lake.scan(table))) for table, make in self._recipe.lookups])
            return self._cached[1]
