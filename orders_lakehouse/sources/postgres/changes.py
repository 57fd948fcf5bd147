"""What has changed in the shop since it was last looked at: by an index of each table, the rows of the last hour.

Where no index helps, as behind a view that casts the change clock, a look reads the whole table. Such looks are spaced
out by what they cost.
"""

import time
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.postgres.connections import connect, read_alone, value_of
from orders_lakehouse.sources.base import OVERLAP, REFUSED, Clocks, Marks, Window
from orders_lakehouse.sources.postgres.columns import (
    SCHEMA,
    Column,
    columns_of,
    is_left_out,
    readable,
    require_readable,
)
from orders_lakehouse.sources.postgres.versions import TOLERANCE, captured_on, clamped
from orders_lakehouse.tables import RAW

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

# How long a look waits for a lock on a table: Dagster gives all of them together a minute.
_LOCK_SECONDS = 8
_CLOCK = "timestamp with time zone"
# Rows a minute that looks at a table may read without an index, and which share of the time they may take; one that
# takes less than a second is quick enough.
_ROWS_A_MINUTE, _SHARE, _QUICK = 50_000, 0.05, 1.0
# A look that is due sooner than the sensor looks is not put off, and none is for longer than a quarter of an hour.
_SHORTEST_WAIT, _LONGEST_WAIT = timedelta(seconds=5), timedelta(minutes=15)
# What workers read is not counted, and a look is in no hurry.
WITHOUT_WORKERS = "SET max_parallel_workers_per_gather = 0"
# Rows that this connection has read without an index, whatever views they stand behind; not those of foreign tables.
_READ_WITHOUT_INDEX = "SELECT coalesce(sum(seq_tup_read), 0)::bigint FROM pg_stat_xact_user_tables"
# Under which name the mark of a table says when it is to be looked at again, where that is not the next time.
_NEXT_LOOK = "next look"

# The mark of a table: `since`, from when on rows are looked at again, and `dates`: by capture date, how many there
# were, and the sum of their hashes; where looks are costly, when the next one is due. Of a table that could not be
# looked at, these stay as they were, and REFUSED says since when and why; one without a change clock has nothing else.


def changed_dates(marks: Marks, in_raw: Callable[[Table], Clocks], calendar: Calendar) -> tuple[list[date], Marks]:
    """Capture dates that have news.

    Args:
        marks: What the last look returned; empty for the first one.
        in_raw: Rows and clocks of a raw table by capture date; what the first look compares with.
        calendar: First partition, and when dates begin.

    Returns:
        Dates in order, and the marks for the next look. A table that is refused keeps nobody else waiting: its mark
        says so, and what it changes meanwhile is found once it can be looked at again. A table without a change clock
        is news of today, once, so that its capture says what is wrong.

    Raises:
        DatabaseError: The shop refuses the user or the database's name.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    found: set[date] = set()
    after: dict[str, Mapping[str, Any]] = {}
    with connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute(f"SET lock_timeout = '{_LOCK_SECONDS}s'")
        cursor.execute(WITHOUT_WORKERS)
        now: datetime = value_of(cursor, "SELECT now()")
        offered = columns_of(cursor, RAW)
        connection.commit()
        for table in RAW:
            mark, columns = marks.get(table.name), offered[table.name]
            if is_left_out(table, columns):
                continue
            if not _has_clock(columns):
                after[table.name] = _refused({}, mark, now, _without_clock(table))
                found.update((calendar.date_of(now),) if mark is None or "dates" in mark else ())
                continue
            known = mark if mark and "dates" in mark else None
            if known and _NEXT_LOOK in known and now < datetime.fromisoformat(known[_NEXT_LOOK]):
                after[table.name] = known
                continue
            try:
                with read_alone(connection, "shop"):
                    require_readable(cursor, table, columns)
                    began, before = time.monotonic(), rows_read_without_index(cursor)
                    dates, seen = _look(cursor, table, readable(columns), known, in_raw, (calendar, now))
                    wait = _wait(rows_read_without_index(cursor) - before, time.monotonic() - began)
                # The first look reads all rows once, with or without an index.
                after[table.name] = {**seen, _NEXT_LOOK: (now + wait).isoformat()} if wait and known else seen
                found.update(dates)
            except ExpectedError as error:
                after[table.name] = _refused(known or {}, mark, now, str(error))
    return sorted(found), after


def _has_clock(columns: Mapping[str, Column]) -> bool:
    return "updated_at" in columns and columns["updated_at"].type == _CLOCK


def _without_clock(table: Table) -> str:
    return (
        f"the shop has no table {SCHEMA}.{table.name} with an updated_at of type timestamptz, by which it is followed; "
        f"a capture of {table.path} says what it has"
    )


def _refused(known: Mapping[str, Any], mark: Mapping[str, Any] | None, now: datetime, error: str) -> Mapping[str, Any]:
    """The mark of a table that could not be looked at: what is known of it, since when that is so, and why."""
    before = (mark or {}).get(REFUSED)
    return {**known, REFUSED: {"since": before["since"] if before else now.isoformat(), "error": error}}


def _look(
    cursor: "Cursor",
    table: Table,
    columns: Mapping[str, Column],
    mark: Mapping[str, Any] | None,
    in_raw: Callable[[Table], Clocks],
    today: tuple[Calendar, datetime],
) -> tuple[set[date], dict[str, Any]]:
    """Capture dates of a table that have news, and its mark for the next look."""
    calendar, now = today
    source = f'{SCHEMA}."{table.name}"'
    newest: datetime | None = value_of(
        cursor, f"SELECT max(updated_at) FROM {source} WHERE updated_at <= '{(now + TOLERANCE).isoformat()}'"
    )
    since = mark["since"] if mark else None
    # A clock that runs ahead must not hide what changes before it is that late.
    until = (min(newest, now) - OVERLAP).isoformat() if newest else None
    first = calendar.date_of(datetime.fromisoformat(since)) if since else calendar.start
    window = Window(first, calendar.date_of(now + TOLERANCE), calendar)
    # A row that changes twice within the overlap is as many rows as before, on the same date: its hash tells. Whatever
    # of the row this user may read: which columns it should have, a capture says.
    row = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
    hashes = f"sum(hashtextextended(ROW({row})::text, 0))"
    # A view may offer rows without a clock; whoever captures them says what to do about it.
    clock = clamped("updated_at", "instant")
    clocks = f"coalesce(sum((extract(EPOCH FROM {clock}) * 1000000)::numeric(38, 0)), 0)"
    cursor.execute(
        f"SELECT {captured_on(window, now)} AS date, count(*) AS rows, "
        f"{hashes if mark else clocks}::text AS sum, "
        f"count(*) FILTER ({_from(until)}) AS recent, ({hashes} FILTER ({_from(until)}))::text AS recent_sum "
        f"FROM {source} {_from(since)} GROUP BY 1"
    )
    looked = pl.DataFrame(cursor.fetch_arrow_table()).cast({"date": pl.Date})
    there = {on: (rows, int(total)) for on, rows, total in looked.select("date", "rows", "sum").iter_rows()}
    if mark:
        known = {date.fromisoformat(on): (rows, int(total)) for on, (rows, total) in mark["dates"].items()}
    else:
        known = dict(in_raw(table))
    found = {on for on in {*known, *there} if known.get(on) != there.get(on)}
    recent = looked.filter(pl.col("recent") > 0).sort("date")
    dates = {str(on): [rows, total] for on, rows, total in recent.select("date", "recent", "recent_sum").iter_rows()}
    return found, {"since": until, "dates": dates}


def rows_read_without_index(cursor: "Cursor") -> int:
    """Rows that a connection has read so far without an index, `WITHOUT_WORKERS`; it grows within a transaction."""
    return int(value_of(cursor, _READ_WITHOUT_INDEX))


def _wait(rows: int, seconds: float) -> timedelta:
    """How long the next look at a table waits; not at all where this one was cheap.

    Args:
        rows: Rows that this look has read without an index.
        seconds: How long it took.
    """
    of_rows = timedelta(minutes=rows / _ROWS_A_MINUTE)
    of_time = timedelta(seconds=seconds / _SHARE if seconds > _QUICK else 0)
    wait = min(max(of_rows, of_time), _LONGEST_WAIT)
    return wait if wait > _SHORTEST_WAIT else timedelta()


def _from(instant: str | None) -> str:
    return f"WHERE updated_at >= '{instant}'" if instant else "WHERE true"
