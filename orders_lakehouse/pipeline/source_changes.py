"""Find the capture dates on which any source has news; each source's marks are kept between two looks."""

from collections.abc import Callable
from datetime import date

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.sources.base import Clocks, Marks, Source
from orders_lakehouse.sources.registry import SOURCES


def changed_dates(marks: Marks, in_raw: Callable[[Table], Clocks], calendar: Calendar) -> tuple[list[date], Marks]:
    """Look at every source.

    Args:
        marks: What the last look returned; empty for the first one.
        in_raw: Returns rows and clocks of a raw table by capture date; the first look compares with them.
        calendar: First partition, and when dates begin.

    Returns:
        Dates in order, and the marks for the next look.

    Raises:
        DatabaseError: A source refuses the user or the database's name.
        DatabaseUnavailableError: A source cannot be reached.
    """
    dates: set[date] = set()
    after: Marks = {}
    for source in SOURCES:
        prefix = _prefix(source)
        own = {name.removeprefix(prefix): mark for name, mark in marks.items() if _is_of(name, prefix)}
        source_dates, source_marks = source.changed_dates(own, in_raw, calendar)
        dates.update(source_dates)
        after = {**after, **{f"{prefix}{name}": mark for name, mark in source_marks.items()}}
    return sorted(dates), after


def _prefix(source: Source) -> str:
    """Return the prefix of a source's tables in the marks; the first source has none, as stored cursors expect."""
    return "" if source is SOURCES[0] else f"{source.namespace}/"


def _is_of(name: str, prefix: str) -> bool:
    return name.startswith(prefix) if prefix else "/" not in name
