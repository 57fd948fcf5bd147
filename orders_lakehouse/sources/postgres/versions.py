"""Read from the shop's Postgres the row versions whose change clock falls in a window of capture dates.

All rows come from one snapshot, in Arrow batches of bounded size. Columns are cast to the types of raw, and no row is
rejected. If the source's columns do not fit, the error names table, column, found and expected type, and the next step.
Columns that the contract lacks are read, too, if the shop's user may read them.
"""

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl

from orders_lakehouse.contracts.base import declared_at
from orders_lakehouse.contracts.raw import AHEAD_HOURS, LINEAGE, number_columns
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.encoding import UTF8, decoded
from orders_lakehouse.postgres.connections import DatabaseError, batches, connect, value_of
from orders_lakehouse.sources.base import Batch, Shape, Window
from orders_lakehouse.sources.batches import batch_bytes, in_batches
from orders_lakehouse.sources.postgres.columns import (
    SCHEMA,
    Column,
    columns_of,
    is_left_out,
    readable,
    require_readable,
)

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

# Rows of a batch, which becomes one commit. Two batches are in memory: one is read while the other is captured.
BATCH_ROWS = 300_000
# Largest lead of a change clock over the source's now(). A row with a later clock is captured today, and a rule
# rejects it.
TOLERANCE = timedelta(hours=AHEAD_HOURS)

# Accepted types of the source for each type of raw, their description, and the SQL to read them. Keys are text in raw,
# but integers in many shops.
_TEXT = {"text", "character varying", "character", "citext", "uuid", "integer", "bigint", "smallint", "numeric"}
_ACCEPTED: dict[str, tuple[set[str], str, str]] = {
    "text": (_TEXT | {"USER-DEFINED"}, "text or a type that prints as one (varchar, uuid, integer, enum)", "{c}::text"),
    "number": ({"numeric", "integer", "bigint", "smallint"}, "numeric or an integer type", "{c}::text"),
    "integer": ({"integer", "smallint", "bigint"}, "integer or bigint", "{c}::bigint"),
    "float": ({"double precision", "real"}, "double precision or real", "{c}::double precision"),
    "boolean": ({"boolean"}, "boolean", "{c}"),
    "date": ({"date"}, "date", "{c}"),
    "instant": ({"timestamp with time zone"}, "timestamptz (a timestamp without a zone has no instant)", "{c}"),
}
_KINDS: dict[pl.DataType, str] = {
    pl.String(): "text",
    pl.Int64(): "integer",
    pl.Float64(): "float",
    pl.Boolean(): "boolean",
    pl.Date(): "date",
    pl.Datetime("us", "UTC"): "instant",
}
# Query for the encoding of a database, and for the largest number of bytes of a character in it.
_ENCODING = (
    "SELECT name || ' ' || pg_encoding_max_length(pg_char_to_encoding(name)) "
    "FROM current_setting('server_encoding') AS name"
)
# Bounds for dates and instants. Postgres has infinity and years that other systems lack; they become these bounds.
_EARLIEST, _LATEST = "0001-01-01", "9999-12-31"


def read_versions(table: Table, window: Window) -> Iterator[Batch]:
    """Read the current version of every row whose change clock falls in the window.

    Args:
        table: Raw table to read for.
        window: Capture dates.

    Yields:
        Batches of at most about `BATCH_ROWS` rows and `batch_bytes()`. If nothing changed, one empty batch.

    Raises:
        DatabaseError: The table, a column or a type does not fit raw.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    with connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        columns_in_shop = columns_of(cursor, [table])[table.name]
        if is_left_out(table, columns_in_shop):
            yield _empty_batch(table, value_of(cursor, "SELECT now()"))
            return
        require_readable(cursor, table, columns_in_shop)
        offered = readable(columns_in_shop)
        codec = codec_of_bytes(cursor)
        columns = _select_list(offered, table, in_bytes=codec is not None)
        extras = _extras(offered, table)
        now: datetime = value_of(cursor, "SELECT now()")
        shape = Shape({name: column.written for name, column in offered.items()}, now)
        _refuse_missing_clocks(cursor, table, offered["updated_at"])
        where = _condition(window, now)
        source = f'{SCHEMA}."{table.name}"'
        day = captured_on(window, now)
        cursor.execute(f"SELECT {day} AS date, count(*) AS rows FROM {source} WHERE {where} GROUP BY 1")
        counted = pl.DataFrame(cursor.fetch_arrow_table()).cast({"date": pl.Date, "rows": pl.Int64})
        aliases = [_extra_alias(number) for number in range(len(extras))]
        schema = pl.Schema({**_read_schema(table), **dict(zip(aliases, extras.values(), strict=True))})

        def read(first: date, last: date) -> Iterator[pl.DataFrame]:
            where = _condition(Window(first, last, window.calendar), now)
            cursor.execute(f"SELECT {columns} FROM {source} WHERE {where}")
            for batch in batches(cursor):
                frame = pl.DataFrame(batch)
                yield (frame if codec is None else decoded(frame, codec)).cast(schema)

        dates = (window.first, window.last)
        frames = in_batches(dict(counted.iter_rows()), dates, read, BATCH_ROWS, batch_bytes())
        for rows in _in_advance(_at_least_one(frames, schema)):
            extra_columns = rows.select(aliases).rename(dict(zip(aliases, extras, strict=True)))
            yield Batch(_as_raw(rows.drop(aliases), window, now), extra_columns, counted, shape)


def _empty_batch(table: Table, now: datetime) -> Batch:
    """Return an empty batch for an optional table that the shop lacks."""
    rows = pl.DataFrame(schema={name: dtype for name, dtype in table.schema.items() if name != "run_id"})
    counted = pl.DataFrame(schema={"date": pl.Date, "rows": pl.Int64})
    return Batch(rows, pl.DataFrame(), counted, Shape({}, now))


def _in_advance(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Yield the same frames, and read the next one while the caller works on the current one."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="shop") as reader:
        following = reader.submit(next, frames, None)
        while (frame := following.result()) is not None:
            following = reader.submit(next, frames, None)
            yield frame


def _at_least_one(frames: Iterator[pl.DataFrame], schema: pl.Schema) -> Iterator[pl.DataFrame]:
    """Yield the same frames, or an empty one if there are none."""
    first = next(frames, None)
    yield pl.DataFrame(schema=schema) if first is None else first
    del first
    yield from frames


def _read_schema(table: Table) -> dict[str, pl.DataType]:
    return {name: dtype for name, dtype in table.schema.items() if name not in LINEAGE}


def _refuse_missing_clocks(cursor: "Cursor", table: Table, clock: Column) -> None:
    """Refuse a table that has rows without a change clock, because no window would find these rows."""
    if clock.is_not_null and not clock.is_foreign:
        return
    # Postgres assumes that IS NULL is false if a foreign table declares NOT NULL; num_nulls() looks at the value.
    is_missing = "num_nulls(updated_at) = 1" if clock.is_not_null else "updated_at IS NULL"
    missing = int(value_of(cursor, f'SELECT count(*) FROM {SCHEMA}."{table.name}" WHERE {is_missing}'))
    if missing:
        raise DatabaseError(
            f"{SCHEMA}.{table.name} has {missing:,} rows without updated_at, which no window would find. Expected the "
            "time of the last change on every row; add one in the view, such as coalesce(updated_at, created_at)."
        )


def _condition(window: Window, now: datetime) -> str:
    """Return the window as an SQL condition on `updated_at`; a window with today includes clocks too far ahead."""
    calendar = window.calendar
    latest = (now + TOLERANCE).isoformat()
    until = calendar.begins_at(window.last + timedelta(days=1)).isoformat()
    bounds = [f"updated_at < '{until}'", f"updated_at <= '{latest}'"]
    if window.first > calendar.start:
        bounds.append(f"updated_at >= '{calendar.begins_at(window.first).isoformat()}'")
    condition = " AND ".join(bounds)
    if window.first <= calendar.date_of(now) <= window.last:
        condition = f"({condition}) OR updated_at > '{latest}'"
    return condition


def captured_on(window: Window, now: datetime) -> str:
    """Return SQL for the capture date of a row in a window.

    The shop compares the clock with the midnights of the lake's calendar, so its own time zone data has no effect.

    Args:
        window: Capture dates. The SQL is valid for rows of these dates and for clocks that are too far ahead.
        now: The source's now().
    """
    calendar, latest = window.calendar, now + TOLERANCE
    first = max(window.first, calendar.start)
    begins = calendar.midnights_between(first + timedelta(days=1), min(window.last, calendar.date_of(latest)))
    midnights = ",".join(f"{begin:%Y-%m-%dT%H:%M:%SZ}" for begin in begins)
    return (
        f"CASE WHEN updated_at > '{latest.isoformat()}' THEN '{calendar.date_of(now)}'::date "
        f"ELSE '{first}'::date + width_bucket(updated_at, '{{{midnights}}}'::timestamptz[]) END"
    )


def raw_type(written: str) -> pl.DataType:
    """Return the type in raw of a column that the contract does not have.

    Args:
        written: Type of the column as Postgres writes it.
    """
    type_ = re.sub(r"\(.*\)", "", written)
    exact = ((dtype, kind) for dtype, kind in _KINDS.items() if kind != "text")
    return next((dtype for dtype, kind in exact if type_ in _ACCEPTED[kind][0]), pl.String())


def _extra_alias(number: int) -> str:
    """Return an alias under which an extra column is read, because raw may have a column of the same name."""
    return f"extra {number}"


def _select_list(offered: Mapping[str, Column], table: Table, *, in_bytes: bool) -> str:
    """Return the select list: the columns of raw, cast to its types, then the extra columns.

    Args:
        offered: Columns of the shop that this user may read.
        table: The raw table.
        in_bytes: Whether text is read as bytes.

    Raises:
        DatabaseError: Columns do not fit; the message names all of them.
    """
    problems, expressions = [], []
    for name, dtype in _read_schema(table).items():
        kind = "number" if name in number_columns(table.model) else _KINDS[dtype]
        accepted, expected, _ = _ACCEPTED[kind]
        found = offered[name].type if name in offered else "no such column"
        if found not in accepted:
            line = declared_at(table.model, name)
            problems.append(f"column {name}: expected {expected}, found {found} (the contract's line: {line})")
        value = _read(name, kind)
        if kind == "text" and name in table.key:
            # A view may have rows without a key. They are captured with an empty key, which a rule rejects.
            value = f"coalesce({value}, '')"
        expressions.append(f'{_sent(value, kind, in_bytes=in_bytes)} AS "{name}"')
    if problems:
        raise DatabaseError(
            f"{SCHEMA}.{table.name} does not have the columns that {table.path} needs: {'; '.join(problems)}. "
            "Change the source, make a view of that name with these columns, or change the contract and raise its "
            "version."
        )
    expressions += [
        f'{_sent(_read(name, _KINDS[dtype]), _KINDS[dtype], in_bytes=in_bytes)} AS "{_extra_alias(number)}"'
        for number, (name, dtype) in enumerate(_extras(offered, table).items())
    ]
    return ", ".join(expressions)


def _extras(offered: Mapping[str, Column], table: Table) -> dict[str, pl.DataType]:
    """Return the columns of the shop that raw does not have, with their types in raw."""
    return {name: raw_type(column.written) for name, column in offered.items() if name not in _read_schema(table)}


def _read(name: str, kind: str) -> str:
    """Return SQL for a column of the shop, cast to the type of raw."""
    quoted = '"' + name.replace('"', '""') + '"'
    return clamped(quoted, kind) if kind in ("date", "instant") else _ACCEPTED[kind][2].format(c=quoted)


def codec_of_bytes(cursor: "Cursor") -> str | None:
    """Return Python's name of the encoding if text must be read as bytes; None if the server can convert all text.

    A database in SQL_ASCII knows no encoding and converts nothing; its text is mostly UTF-8. In most single-byte
    encodings some bytes have no meaning. If the server converted text, one such byte would make the whole read fail.
    """
    encoding, longest = value_of(cursor, _ENCODING).split()
    if encoding == "SQL_ASCII":
        return UTF8
    if longest != "1" or encoding == "LATIN1":
        return None
    from psycopg2.extensions import encodings

    return str(encodings[encoding])


def as_bytes(text: str) -> str:
    """Return SQL for the unconverted bytes of a text."""
    return f"convert_to({text}, 'SQL_ASCII')"


def _sent(value: str, kind: str, *, in_bytes: bool) -> str:
    """Return SQL for a value as the shop sends it: text as bytes if `in_bytes`; numbers as text, which is ASCII."""
    return as_bytes(value) if in_bytes and kind == "text" else value


def clamped(column: str, kind: str) -> str:
    """Return SQL for a date or an instant of the shop, limited to `_EARLIEST` and `_LATEST`."""
    sql_type = "date" if kind == "date" else "timestamptz"
    earliest, latest = f"'{_EARLIEST}'::{sql_type}", f"'{_LATEST}'::{sql_type}"
    return f"CASE WHEN {column} < {earliest} THEN {earliest} WHEN {column} > {latest} THEN {latest} ELSE {column} END"


def _as_raw(rows: pl.DataFrame, window: Window, now: datetime) -> pl.DataFrame:
    calendar = window.calendar
    changed_on = pl.max_horizontal("captured_on", pl.lit(calendar.start))
    is_ahead = pl.col("updated_at") > now + TOLERANCE
    return rows.with_columns(captured_on=calendar.dates_of(rows["updated_at"])).with_columns(
        captured_on=pl.when(is_ahead).then(pl.lit(calendar.date_of(now))).otherwise(changed_on),
        captured_at=pl.lit(now, dtype=pl.Datetime("us", "UTC")),
        source=pl.lit(SCHEMA),
        change=pl.lit("clock"),
        sequence=pl.lit(0, dtype=pl.Int64),
        namespace=pl.lit(SCHEMA),
    )
