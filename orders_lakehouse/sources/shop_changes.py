"""What has changed in the shop since it was last looked at: a look at one index of each table."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.tables import RAW, Table
from orders_lakehouse.postgres import connect, value_of
from orders_lakehouse.sources.shop import SCHEMA, TOLERANCE, captured_on

# A transaction that took long commits rows with an older clock: so far back rows are counted again at each look.
_OVERLAP = timedelta(hours=1)

# By table: `since`, from when on rows are counted again, and `counts`, how many there were by capture date.
Marks = Mapping[str, Mapping[str, Any]]


def changed_dates(
    marks: Marks, in_raw: Callable[[Table], Mapping[date, int]], calendar: Calendar
) -> tuple[list[date], Marks]:
    """Capture dates that have news.

    Args:
        marks: What the last look returned; empty for the first one.
        in_raw: Rows of a raw table by capture date; what the first look compares with.
        calendar: First partition and time zone.

    Returns:
        Dates in order, and the marks for the next look.

    Raises:
        DatabaseError: A table is missing, or may not be read.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    found: set[date] = set()
    after: dict[str, dict[str, Any]] = {}
    with connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        now: datetime = value_of(cursor, "SELECT now()")
        day = captured_on(calendar, now)
        for table in RAW:
            source = f'{SCHEMA}."{table.name}"'
            newest: datetime | None = value_of(
                cursor, f"SELECT max(updated_at) FROM {source} WHERE updated_at <= '{(now + TOLERANCE).isoformat()}'"
            )
            mark = marks.get(table.name)
            since = mark["since"] if mark else None
            until = (newest - _OVERLAP).isoformat() if newest else None
            cursor.execute(
                f"SELECT {day} AS date, count(*) AS rows, count(*) FILTER ({_from(until)}) AS recent "
                f"FROM {source} {_from(since)} GROUP BY 1"
            )
            counted = pl.DataFrame(cursor.fetch_arrow_table()).cast({"date": pl.Date})
            known = {date.fromisoformat(on): rows for on, rows in mark["counts"].items()} if mark else in_raw(table)
            rows = dict(counted.select("date", "rows").iter_rows())
            found.update(on for on in {*known, *rows} if known.get(on, 0) != rows.get(on, 0))
            recent = counted.filter(pl.col("recent") > 0).sort("date").select(pl.col("date").cast(pl.String), "recent")
            after[table.name] = {"since": until, "counts": dict(recent.iter_rows())}
    return sorted(found), after


def _from(instant: str | None) -> str:
    return f"WHERE updated_at >= '{instant}'" if instant else "WHERE true"
