"""What has changed in the shop since it was last looked at: by an index of each table, the rows of the last hour."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.tables import RAW, Table
from orders_lakehouse.postgres import connect, value_of
from orders_lakehouse.sources.shop import SCHEMA, TOLERANCE, Window, captured_on, clamped

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

# A transaction that took long commits rows with an older clock: so far back rows are counted again at each look.
OVERLAP = timedelta(hours=1)

# No column is called so.
_ROW = '"the whole row"'
# By table: `since`, from when on rows are looked at again, and `dates`: by capture date, how many there were, and the
# sum of their hashes.
Marks = Mapping[str, Mapping[str, Any]]
# The mark of a table that is not followed.
_NOT_FOLLOWED: dict[str, Any] = {"followed": False}
# By capture date: rows, and the sum of their clocks in microseconds.
Clocks = Mapping[date, tuple[int, int]]


def changed_dates(marks: Marks, in_raw: Callable[[Table], Clocks], calendar: Calendar) -> tuple[list[date], Marks]:
    """Capture dates that have news.

    Args:
        marks: What the last look returned; empty for the first one.
        in_raw: Rows and clocks of a raw table by capture date; what the first look compares with.
        calendar: First partition, and when dates begin.

    Returns:
        Dates in order, and the marks for the next look. A table without a change clock cannot be followed: it is news
        of today, once, so that its capture says what is wrong, and the others are followed as ever.

    Raises:
        DatabaseError: A statement is refused.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    found: set[date] = set()
    after: dict[str, dict[str, Any]] = {}
    with connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        now: datetime = value_of(cursor, "SELECT now()")
        cursor.execute(
            "SELECT table_name FROM information_schema.columns WHERE column_name = 'updated_at' "
            f"AND data_type = 'timestamp with time zone' AND table_schema = '{SCHEMA}'"
        )
        with_clock = {name for (name,) in cursor.fetchall()}
        for table in RAW:
            mark = marks.get(table.name)
            if table.name in with_clock:
                known = None if mark == _NOT_FOLLOWED else mark
                dates, after[table.name] = _look(cursor, table, known, in_raw, (calendar, now))
                found.update(dates)
            else:
                after[table.name] = _NOT_FOLLOWED
                found.update(() if mark == _NOT_FOLLOWED else (calendar.date_of(now),))
    return sorted(found), after


def _look(
    cursor: "Cursor",
    table: Table,
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
    # the row consists of: which columns it should have, a capture says.
    hashes = f"sum(hashtextextended({_ROW}::text, 0))"
    # A view may offer rows without a clock; whoever captures them says what to do about it.
    clock = clamped("updated_at", "instant")
    clocks = f"coalesce(sum((extract(EPOCH FROM {clock}) * 1000000)::numeric(38, 0)), 0)"
    cursor.execute(
        f"SELECT {captured_on(window, now)} AS date, count(*) AS rows, "
        f"{hashes if mark else clocks}::text AS sum, "
        f"count(*) FILTER ({_from(until)}) AS recent, ({hashes} FILTER ({_from(until)}))::text AS recent_sum "
        f"FROM {source} AS {_ROW} {_from(since)} GROUP BY 1"
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


def _from(instant: str | None) -> str:
    return f"WHERE updated_at >= '{instant}'" if instant else "WHERE true"
