"""The shop's Postgres: row versions whose change clock falls in a window of capture dates.

Everything is read in one snapshot, in Arrow batches of bounded size. Columns are cast to what raw holds, nothing is
rejected; a source whose shape does not fit is an error that names table, column, what was found and what to do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.raw import LINEAGE
from orders_lakehouse.contracts.tables import Table
from orders_lakehouse.postgres import DatabaseError, batches, connect, value_of

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

SCHEMA = "shop"
# Rows that are in memory at once; a batch becomes one commit.
BATCH_ROWS = 500_000
# A clock further ahead of the source's now() is captured as of today, where a rule rejects it.
TOLERANCE = timedelta(days=1)

# What each type of raw accepts from the source, and how it is read. Keys are text in raw, integers in many shops.
_TEXT = {"text", "character varying", "character", "citext", "uuid", "integer", "bigint", "smallint", "numeric"}
_ACCEPTED: dict[str, tuple[set[str], str, str]] = {
    "text": (_TEXT | {"USER-DEFINED"}, "text or a type that prints as one (varchar, uuid, integer, enum)", "{c}::text"),
    "number": ({"numeric", "integer", "bigint", "smallint"}, "numeric or an integer type", "{c}::text"),
    "integer": ({"integer", "smallint"}, "integer", "{c}::integer"),
    "date": ({"date"}, "date", "{c}"),
    "instant": ({"timestamp with time zone"}, "timestamptz (a timestamp without a zone has no instant)", "{c}"),
}
_NUMBERS = {"unit_price", "discount", "amount"}
# Postgres knows infinity and years that nothing else does; they become the ends of what a date can say.
_EARLIEST, _LATEST = "0001-01-01", "9999-12-31"


@dataclass(frozen=True)
class Window:
    """Capture dates to read.

    Attributes:
        first: First capture date.
        last: Last capture date.
        calendar: First partition, whose window is open to the left, and time zone.
    """

    first: date
    last: date
    calendar: Calendar


@dataclass(frozen=True)
class Batch:
    """Rows of the shop as raw holds them, without `run_id`, and the counts that the shop itself gives.

    Attributes:
        rows: Columns of the raw table but `run_id`.
        counted: Rows of the whole window by date, counted by the shop in the same snapshot: date, rows.
    """

    rows: pl.DataFrame
    counted: pl.DataFrame

    @property
    def in_window(self) -> int:
        """Rows in the whole window."""
        return int(self.counted["rows"].sum())


def read_versions(table: Table, window: Window) -> Iterator[Batch]:
    """Read the current version of every row whose change clock falls in the window.

    Args:
        table: Raw table to read for.
        window: Capture dates.

    Yields:
        Batches of at most about `BATCH_ROWS` rows; at least one, empty when nothing changed.

    Raises:
        DatabaseError: The table, a column or a type is not what raw needs.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    with connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        columns = _select_list(cursor, table)
        now: datetime = value_of(cursor, "SELECT now()")
        _refuse_missing_clocks(cursor, table)
        where = _condition(window, now)
        source = f'{SCHEMA}."{table.name}"'
        day = captured_on(window.calendar, now)
        cursor.execute(f"SELECT {day} AS date, count(*) AS rows FROM {source} WHERE {where} GROUP BY 1")
        counted = pl.DataFrame(cursor.fetch_arrow_table()).cast({"date": pl.Date, "rows": pl.Int64})
        # Ordered by the clock, so that a batch touches few partitions.
        order = " ORDER BY updated_at" if counted["rows"].sum() > BATCH_ROWS else ""
        cursor.execute(f"SELECT {columns} FROM {source} WHERE {where}{order}")
        for rows in _batches(cursor, table):
            yield Batch(_as_raw(rows, table, window, now), counted)


def _batches(cursor: "Cursor", table: Table) -> Iterator[pl.DataFrame]:
    """The result in frames of about `BATCH_ROWS`; at least one, which may be empty."""
    pending: list[pl.DataFrame] = []
    yielded = False
    for batch in batches(cursor):
        pending.append(pl.DataFrame(batch))
        if sum(frame.height for frame in pending) >= BATCH_ROWS:
            yield pl.concat(pending)
            pending, yielded = [], True
    if pending or not yielded:
        yield pl.concat(pending) if pending else pl.DataFrame(schema=_read_schema(table))


def _read_schema(table: Table) -> dict[str, pl.DataType]:
    return {name: dtype for name, dtype in table.schema.items() if name not in LINEAGE}


def _refuse_missing_clocks(cursor: "Cursor", table: Table) -> None:
    """A row without a change clock falls in no window; where the source allows one, it is an error, not a loss."""
    nullable = value_of(
        cursor,
        "SELECT is_nullable FROM information_schema.columns WHERE column_name = 'updated_at' "
        f"AND table_schema = '{SCHEMA}' AND table_name = '{table.name}'",
    )
    if nullable == "NO":
        return
    missing = int(value_of(cursor, f'SELECT count(*) FROM {SCHEMA}."{table.name}" WHERE updated_at IS NULL'))
    if missing:
        raise DatabaseError(
            f"{SCHEMA}.{table.name} has {missing:,} rows without updated_at, which no window would find. Expected the "
            "time of the last change on every row; offer one in the view, such as coalesce(updated_at, created_at)."
        )


def _condition(window: Window, now: datetime) -> str:
    """The window as a condition on `updated_at`, cut at the source's own clock."""
    zone = ZoneInfo(window.calendar.timezone)
    latest = (now + TOLERANCE).isoformat()
    until = _midnight(window.last + timedelta(days=1), zone)
    bounds = [f"updated_at < '{until}'", f"updated_at <= '{latest}'"]
    if window.first > window.calendar.start:
        bounds.append(f"updated_at >= '{_midnight(window.first, zone)}'")
    condition = " AND ".join(bounds)
    if window.first <= now.astimezone(zone).date() <= window.last:
        condition = f"({condition}) OR updated_at > '{latest}'"
    return condition


def captured_on(calendar: Calendar, now: datetime) -> str:
    """The capture date of a row, as the shop's own SQL says it.

    Args:
        calendar: First partition and time zone.
        now: The source's now().
    """
    zone = calendar.timezone
    today = now.astimezone(ZoneInfo(zone)).date()
    return (
        f"CASE WHEN updated_at > '{(now + TOLERANCE).isoformat()}' THEN '{today}'::date "
        f"ELSE greatest((updated_at AT TIME ZONE '{zone}')::date, '{calendar.start}'::date) END"
    )


def _midnight(day: date, zone: ZoneInfo) -> str:
    return datetime.combine(day, time(), zone).astimezone(UTC).isoformat()


def _select_list(cursor: "Cursor", table: Table) -> str:
    """The columns of raw as the shop offers them, cast; an error that names every column that does not fit."""
    cursor.execute(
        "SELECT column_name, data_type FROM information_schema.columns "
        f"WHERE table_schema = '{SCHEMA}' AND table_name = '{table.name}'"
    )
    offered = dict(cursor.fetchall())
    if not offered:
        raise DatabaseError(
            f"the shop has no table {SCHEMA}.{table.name} that this user may read. Expected a table or view of that "
            f"name with the columns {', '.join(_read_schema(table))}; SHOP_DATABASE_URL names the database."
        )
    problems, expressions = [], []
    for name, dtype in _read_schema(table).items():
        kind = _kind(name, dtype)
        accepted, expected, expression = _ACCEPTED[kind]
        found = offered.get(name)
        if found is None:
            problems.append(f"column {name}: expected {expected}, found no such column")
        elif found not in accepted:
            problems.append(f"column {name}: expected {expected}, found {found}")
        quoted = f'"{name}"'
        value = clamped(quoted, kind) if kind in ("date", "instant") else expression.format(c=quoted)
        if kind == "text" and name in table.key:
            # A view may offer a row without its key; it is captured under the blank one, which a rule rejects.
            value = f"coalesce({value}, '')"
        expressions.append(f"{value} AS {quoted}")
    if problems:
        raise DatabaseError(
            f"{SCHEMA}.{table.name} does not have the shape that {table.path} needs: {'; '.join(problems)}. "
            f"Change the source, or offer a view of that name with these columns."
        )
    return ", ".join(expressions)


def _kind(name: str, dtype: pl.DataType) -> str:
    if name in _NUMBERS:
        return "number"
    if dtype == pl.String:
        return "text"
    if dtype == pl.Date:
        return "date"
    return "integer" if dtype == pl.Int32 else "instant"


def clamped(column: str, kind: str) -> str:
    """A date or an instant of the shop within what others can say."""
    sql_type = "date" if kind == "date" else "timestamptz"
    earliest, latest = f"'{_EARLIEST}'::{sql_type}", f"'{_LATEST}'::{sql_type}"
    return f"CASE WHEN {column} < {earliest} THEN {earliest} WHEN {column} > {latest} THEN {latest} ELSE {column} END"


def _as_raw(rows: pl.DataFrame, table: Table, window: Window, now: datetime) -> pl.DataFrame:
    today = now.astimezone(ZoneInfo(window.calendar.timezone)).date()
    clock = pl.col("updated_at")
    changed_on = clock.dt.convert_time_zone(window.calendar.timezone).dt.date()
    captured_on = (
        pl.when(clock > now + TOLERANCE)
        .then(pl.lit(today))
        .otherwise(pl.max_horizontal(changed_on, pl.lit(window.calendar.start)))
    )
    return rows.cast(pl.Schema(_read_schema(table))).with_columns(
        captured_on=captured_on, captured_at=pl.lit(now, dtype=pl.Datetime("us", "UTC")), source=pl.lit(SCHEMA)
    )
