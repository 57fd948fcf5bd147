"""What each derived table is made of: how its dates are derived, whoever asks and wherever it is done."""

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
    """The tables that one derivation writes, in this order.

    Quarantine first: a crash in between leaves a row that got worse in both tables, rather than in none.
    """
    return [QUARANTINE_OF[table.name], table] if table in CLEANSED else [table]


def derive(
    lake: Lake,
    table: Table,
    dates: tuple[date, date] | None,
    run_id: str = "",
    warn: Callable[[str], None] = log.warning,
) -> list[Replaced]:
    """Derive dates of a table, and of a cleansed one its quarantine with it.

    Args:
        lake: The lake, whose engine it is done by.
        table: A cleansed or curated table.
        dates: First and last date. For a table without dates, those of the run: where they are few, it is made of what
            has changed since it was made last; None: of everything.
        run_id: Run on whose behalf it is.
        warn: Told, before it begins, of dates that need more memory than the settings allow.

    Returns:
        What became of each of `derived_with`.
    """
    if table not in CLEANSED:
        made = CURATED_OF[table.name].made
        if isinstance(made, Cumulative):
            return [lake.replace_all(table, lambda source: cumulate(source, table, made, dates), run_id)]
        return _make_by_date(lake, table, made, _known(dates), run_id, warn)
    entity, (first, last) = entity_of(table), _known(dates)
    waivers, places, calendar = configured_waivers(lake), locator_of(table, first, last), calendar_of(lake)
    portions = batches_by_versions(lake, table, first, last)
    _tell_what_is_needed(lake, table, entity.raw, portions, warn)

    def make(source: Lake, begin: date, end: date) -> Sequence[Frame]:
        versions, states = versions_by_date(source, entity, begin, end, places)
        good, bad = cleanse(entity, versions, (begin, end), calendar, waivers, states)
        return bad, good

    return replace_range(lake, derived_with(table), portions, make, run_id)


def _known(dates: tuple[date, date] | None) -> tuple[date, date]:
    assert dates is not None  # noqa: S101 (only a table over all dates does without)
    return dates


def _make_by_date(
    lake: Lake, table: Table, made: ByDate, dates: tuple[date, date], run_id: str, warn: Callable[[str], None]
) -> list[Replaced]:
    portions = batches_by_rows(lake, made.dated[0], *dates)
    _tell_what_is_needed(lake, table, made.dated[0], portions, warn)
    looked_up = _LookedUp(made)

    def make(source: Lake, begin: date, end: date) -> Sequence[Frame]:
        dated = (source.scan(of, between=(begin, end)) for of in made.dated)
        return [made.make(*dated, *looked_up.of(source))]

    return replace_range(lake, [table], portions, make, run_id)


def _tell_what_is_needed(
    lake: Lake, table: Table, source: Table, portions: Sequence[Batch], warn: Callable[[str], None]
) -> None:
    needed = memory_warning(lake, table, source, portions)
    if needed is not None:
        warn(needed)


class _LookedUp:
    """What a table looks up without regard to its dates. It is made once for all portions."""

    def __init__(self, made: ByDate) -> None:
        self._made = made
        self._lock = Lock()
        self._known: tuple[Sequence[tuple[str, int]], Sequence[Frame]] | None = None

    def of(self, lake: Lake) -> Sequence[Frame]:
        states = [state_of(lake.open(table)) for table, _ in self._made.looked_up]
        with self._lock:
            if self._known is None or self._known[0] != states:
                self._known = (states, [persist(make(lake.scan(table))) for table, make in self._made.looked_up])
            return self._known[1]
