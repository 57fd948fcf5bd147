"""Find the capture dates that changed in the shop since the last look.

A look reads the rows since an hour before the last look, by an index on each table. Without a usable index, as behind a
view that casts the change clock, a look reads the whole table. Such looks are spaced out according to their cost.
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

# Seconds that a look waits for a lock on a table; Dagster allows a minute for all tables together.
_LOCK_SECONDS = 8
_CLOCK = "timestamp with time zone"
# Limits for looks at a table without an index: rows a minute, share of the time, and seconds below which time is free.
_ROWS_A_MINUTE, _SHARE, _QUICK = 50_000, 0.05, 1.0
# Shortest and longest wait until the next look. A shorter wait than the sensor's interval has no effect.
_SHORTEST_WAIT, _LONGEST_WAIT = timedelta(seconds=5), timedelta(minutes=15)
# Setting without parallel workers, because Postgres does not count the rows that workers read.
WITHOUT_WORKERS = "SET max_parallel_workers_per_gather = 0"
# Query for the rows that this connection has read without an index, also behind views, but not in foreign tables.
_READ_WITHOUT_INDEX = "SELECT coalesce(sum(seq_tup_read), 0)::bigint FROM pg_stat_xact_user_tables"
# Key in the mark of a table that says when to read the table again, if not at the next look.
_NEXT_LOOK = "next look"

# The mark of a table has these keys:
# - `since`: instant from which rows are read again.
# - `dates`: number of these rows and sum of their hashes, by capture date.
# - _NEXT_LOOK: instant of the next look, if looks are costly.
# - REFUSED: since when and why the table could not be read; the other keys then keep their values. A table without a
#   change clock has only this key.


def changed_dates(marks: Marks, in_raw: Callable[[Table], Clocks], calendar: Calendar) -> tuple[list[date], Marks]:
    """Return the capture dates that have news.

    Args:
        marks: Marks that the last look returned; empty for the first look.
        in_raw: Returns rows and clocks of a raw table by capture date; the first look compares with them.
        calendar: Calendar of the lake, with the first partition.

    Returns:
        Dates in order, and the marks for the next look. A refused table does not hold up the others. Its mark records
        the refusal, and its changes are found once it can be read again. A table without a change clock makes today
        count as changed, once, so that its capture reports the error.

    Raises:
        DatabaseError: The shop refuses the user or the database's name.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    changed: set[date] = set()
    new_marks: dict[str, Mapping[str, Any]] = {}
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
                new_marks[table.name] = _refused({}, mark, now, _without_clock(table))
                changed.update((calendar.date_of(now),) if mark is None or "dates" in mark else ())
                continue
            known = mark if mark and "dates" in mark else None
            if known and _NEXT_LOOK in known and now < datetime.fromisoformat(known[_NEXT_LOOK]):
                new_marks[table.name] = known
                continue
            try:
                with read_alone(connection, "shop"):
                    require_readable(cursor, table, columns)
                    began, before = time.monotonic(), rows_read_without_index(cursor)
                    dates, seen = _look(cursor, table, readable(columns), known, in_raw, (calendar, now))
                    wait = _wait(rows_read_without_index(cursor) - before, time.monotonic() - began)
                # The first look reads all rows even with an index, so its cost does not delay the next one.
                new_marks[table.name] = {**seen, _NEXT_LOOK: (now + wait).isoformat()} if wait and known else seen
                changed.update(dates)
            except ExpectedError as error:
                new_marks[table.name] = _refused(known or {}, mark, now, str(error))
    return sorted(changed), new_marks


def _has_clock(columns: Mapping[str, Column]) -> bool:
    return "updated_at" in columns and columns["updated_at"].type == _CLOCK


def _without_clock(table: Table) -> str:
    return (
        f"the shop has no table {SCHEMA}.{table.name} with a change clock; expected a column updated_at of type "
        f"timestamptz. A capture of {table.path} says what it found"
    )


def _refused(known: Mapping[str, Any], mark: Mapping[str, Any] | None, now: datetime, error: str) -> Mapping[str, Any]:
    """Return the mark of a table that could not be read: its known state, and since when and why it is refused."""
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
    """Return the capture dates of a table that have news, and its mark for the next look."""
    calendar, now = today
    source = f'{SCHEMA}."{table.name}"'
    newest: datetime | None = value_of(
        cursor, f"SELECT max(updated_at) FROM {source} WHERE updated_at <= '{(now + TOLERANCE).isoformat()}'"
    )
    since = mark["since"] if mark else None
    # The bound is at most now: a clock that runs ahead must not hide changes until its time has come.
    until = (min(newest, now) - OVERLAP).isoformat() if newest else None
    first = calendar.date_of(datetime.fromisoformat(since)) if since else calendar.start
    window = Window(first, calendar.date_of(now + TOLERANCE), calendar)
    # The hash reveals a row that changes twice within the overlap, because neither count nor date changes then. It
    # covers all columns that this user may read.
    row = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
    hashes = f"sum(hashtextextended(ROW({row})::text, 0))"
    # A view may have rows without a clock; the capture reports them.
    clock = clamped("updated_at", "instant")
    clocks = f"coalesce(sum((extract(EPOCH FROM {clock}) * 1000000)::numeric(38, 0)), 0)"
    cursor.execute(
        f"SELECT {captured_on(window, now)} AS date, count(*) AS rows, "
        f"{hashes if mark else clocks}::text AS sum, "
        f"count(*) FILTER ({_from(until)}) AS recent, ({hashes} FILTER ({_from(until)}))::text AS recent_sum "
        f"FROM {source} {_from(since)} GROUP BY 1"
    )
    by_date = pl.DataFrame(cursor.fetch_arrow_table()).cast({"date": pl.Date})
    present = {on: (rows, int(total)) for on, rows, total in by_date.select("date", "rows", "sum").iter_rows()}
    if mark:
        known = {date.fromisoformat(on): (rows, int(total)) for on, (rows, total) in mark["dates"].items()}
    else:
        known = dict(in_raw(table))
    changed = {on for on in {*known, *present} if known.get(on) != present.get(on)}
    recent = by_date.filter(pl.col("recent") > 0).sort("date")
    dates = {str(on): [rows, total] for on, rows, total in recent.select("date", "recent", "recent_sum").iter_rows()}
    return changed, {"since": until, "dates": dates}


def rows_read_without_index(cursor: "Cursor") -> int:
    """Return the rows that this transaction has read without an index; the connection must be set `WITHOUT_WORKERS`."""
    return int(value_of(cursor, _READ_WITHOUT_INDEX))


def _wait(rows: int, seconds: float) -> timedelta:
    """Return the wait until the next look at a table; zero if this look was cheap.

    Args:
        rows: Rows that this look has read without an index.
        seconds: Duration of this look.
    """
    of_rows = timedelta(minutes=rows / _ROWS_A_MINUTE)
    of_time = timedelta(seconds=seconds / _SHARE if seconds > _QUICK else 0)
    wait = min(max(of_rows, of_time), _LONGEST_WAIT)
    return wait if wait > _SHORTEST_WAIT else timedelta()


def _from(instant: str | None) -> str:
    return f"WHERE updated_at >= '{instant}'" if instant else "WHERE true"
