"""Copies of lake tables in the warehouse's schema `lake`, for dbt.

A copy remembers which version of its Delta table it holds, in the transaction that loads it. A load replaces the dates
that changed since that version and no others, one load at a time for each table, so that it never puts older rows over
newer ones, and a load that was interrupted is made up for by the next. The copies are unlogged: after a crash of the
server they are empty, and so is their memory: whatever is made from them loads them in full before it begins.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import narwhals as nw
import polars as pl
from deltalake import DeltaTable

from orders_lakehouse.contracts.tables import (
    CUSTOMERS,
    ORDER_LINES,
    ORDERS,
    PAYMENTS,
    PRODUCTS,
    Table,
)
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.lake.delta import Lake, files_of, rows_of
from orders_lakehouse.lake.log import dates_changed_since
from orders_lakehouse.lake.portions import portions
from orders_lakehouse.postgres import connect, value_of, wait_for_turn

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection, Cursor

SCHEMA = "lake"
# Rows that are in memory at once while a table is loaded.
_CHUNK_ROWS = 400_000


@dataclass(frozen=True)
class Copy:
    """A lake table in the warehouse.

    Attributes:
        table: The lake table.
        without: Columns that dbt does not need.
        counted: Column of keys that are listed, each with the number of its rows, in a table beside the copy: which
            keys there are is known then without a look at every row.
        required: Columns that are never null, beside those of which the contract says so.
    """

    table: Table
    without: frozenset[str] = frozenset()
    counted: str | None = None
    required: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Name of the table in the warehouse."""
        return self.table.name

    @property
    def partition(self) -> str:
        """Date column by which rows are replaced."""
        return str(self.table.partitioned_by)

    @property
    def types(self) -> dict[str, str]:
        """Column names and Postgres types."""
        return {name: _postgres_type(dtype) for name, dtype in self.table.schema.items() if name not in self.without}

    @property
    def columns(self) -> dict[str, str]:
        """Column names, and types with what the contract says of nulls."""
        demanded = self.table.model.to_schema().columns
        required = self.required.union(name for name, column in demanded.items() if not column.nullable)
        return {name: f"{kind} NOT NULL" if name in required else kind for name, kind in self.types.items()}

    @property
    def keys(self) -> str | None:
        """Name of the table that lists the counted keys: the column, and `rows`."""
        return f"{self.name}_by_{self.counted}" if self.counted else None


_LINEAGE = frozenset({"is_deleted", "versions", "captured_on", "captured_at"})
COPIES = (
    Copy(CUSTOMERS, frozenset({"versions"})),
    Copy(PRODUCTS, frozenset({"versions"})),
    Copy(ORDERS, _LINEAGE | {"business_date"}, counted="customer_id"),
    # Without an order a payment would be lost from the facts; what has none is in quarantine.
    Copy(PAYMENTS, _LINEAGE | {"order_state", "updated_at"}, required=frozenset({"order_id"})),
    Copy(
        ORDER_LINES,
        frozenset(
            {
                "customer_name",
                "customer_city",
                "customer_country_code",
                "product_name",
                "category",
                "manufacturer",
            }
        ),
        counted="product_id",
    ),
)


@dataclass(frozen=True)
class Loaded:
    """What a load did.

    Attributes:
        rows: Rows copied.
        dates: Dates replaced; None when the whole table was.
        version: Version of the Delta table that the copy now holds.
    """

    rows: int
    dates: int | None
    version: int


def load(lake: Lake, copy: Copy) -> Loaded:
    """Bring a copy up to its Delta table's latest version.

    Args:
        lake: The lake.
        copy: The copy to load.

    Returns:
        What was done; no rows when the copy was up to date.

    Raises:
        DatabaseError: The warehouse refuses a statement.
        DatabaseUnavailableError: The warehouse cannot be reached.
    """
    with connect("warehouse") as connection, connection.cursor() as cursor:
        _prepare(connection, cursor, copy)
        # Opened under the lock: the version that this load writes is at least the one before.
        handle = lake.open(copy.table)
        since = _loaded_version(cursor, copy, handle)
        dates = None if since is None else dates_changed_since(lake, handle, copy.table, since)
        gone = _clear(cursor, copy, dates)
        chunks = [lake.scan_at(handle, copy.table, chunk) for chunk in _chunks(handle, copy.table, dates)]
        by_two = dates is None and len(chunks) > 1
        copied = (_copy_by_two if by_two else _copy)(cursor, chunks, copy)
        if copy.counted:
            _count_keys(cursor, copy, pl.concat([gone, *copied.keys]))
        if dates is None:
            # An index that is made of all rows at once takes a third of the time.
            cursor.execute(f"CREATE INDEX {copy.name}_{copy.partition} ON {SCHEMA}.{copy.name} ({copy.partition})")
        cursor.execute(f"DELETE FROM {SCHEMA}.loaded WHERE table_name = '{copy.name}'")
        cursor.execute(
            f"INSERT INTO {SCHEMA}.loaded VALUES ('{copy.name}', '{handle.metadata().id}', {handle.version()}, now())"
        )
        connection.commit()
        if dates is None:
            # After the load: within it, the server would take the rows for new ones and do it once more by itself.
            cursor.execute(f"ANALYZE {SCHEMA}.{copy.name}")
            connection.commit()
        return Loaded(copied.rows, None if dates is None else len(dates), handle.version())


def loaded_versions() -> dict[str, int]:
    """Version of each Delta table that the warehouse holds."""
    with connect("warehouse") as connection, connection.cursor() as cursor:
        if value_of(cursor, f"SELECT to_regclass('{SCHEMA}.loaded')::text") is None:
            return {}
        cursor.execute(f"SELECT table_name, delta_version FROM {SCHEMA}.loaded")
        return dict(cursor.fetchall())


def load_lost(lake: Lake) -> list[str]:
    """Load the copies that are empty for want of a load, as all are after a crash of the server.

    Whatever is made from the copies asks for this first: from an empty one, it would lose its rows.

    Args:
        lake: The lake.

    Returns:
        Their names; none, as a rule.

    Raises:
        DatabaseError: The warehouse refuses a statement.
        DatabaseUnavailableError: The warehouse cannot be reached.
    """
    loaded = loaded_versions()
    lost = [copy for copy in COPIES if copy.name not in loaded]
    for copy in lost:
        load(lake, copy)
    return [copy.name for copy in lost]


def _prepare(connection: "Connection", cursor: "Cursor", copy: Copy) -> None:
    """Make the schema and the table when they are not there, and wait for another load of the same table."""
    # Two sessions that create the same schema at once collide, so this is one at a time for all tables.
    wait_for_turn(cursor, SCHEMA)
    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    cursor.execute(
        f"CREATE UNLOGGED TABLE IF NOT EXISTS {SCHEMA}.loaded (table_name text PRIMARY KEY, delta_id text NOT NULL, "
        "delta_version bigint NOT NULL, loaded_at timestamptz NOT NULL)"
    )
    made = {copy.name: copy.columns}
    if copy.keys and copy.counted:
        made[copy.keys] = {copy.counted: f"{copy.types[copy.counted]} NOT NULL", "rows": "bigint NOT NULL"}
    if {name: _standing_columns(cursor, name) for name in made} != made:
        cursor.execute(f"DELETE FROM {SCHEMA}.loaded WHERE table_name = '{copy.name}'")
        for name, columns in made.items():
            cursor.execute(f"DROP TABLE IF EXISTS {SCHEMA}.{name} CASCADE")
            described = ", ".join(f"{column} {kind}" for column, kind in columns.items())
            cursor.execute(f"CREATE UNLOGGED TABLE {SCHEMA}.{name} ({described})")
        if copy.keys:
            cursor.execute(f"ALTER TABLE {SCHEMA}.{copy.keys} ADD PRIMARY KEY ({copy.counted})")
    connection.commit()
    wait_for_turn(cursor, f"{SCHEMA}.{copy.name}")


def _standing_columns(cursor: "Cursor", name: str) -> dict[str, str]:
    """Columns and types of a table as it stands; empty when there is none."""
    cursor.execute(
        "SELECT attname, format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END "
        f"FROM pg_attribute WHERE attrelid = to_regclass('{SCHEMA}.{name}') AND attnum > 0 AND NOT attisdropped "
        "ORDER BY attnum"
    )
    return dict(cursor.fetchall())


def _loaded_version(cursor: "Cursor", copy: Copy, handle: DeltaTable) -> int | None:
    cursor.execute(f"SELECT delta_id, delta_version FROM {SCHEMA}.loaded WHERE table_name = '{copy.name}'")
    found = cursor.fetchone()
    if found is None or found[0] != str(handle.metadata().id) or found[1] > handle.version():
        return None
    return int(found[1])


def _chunks(handle: DeltaTable, table: Table, dates: Sequence[date] | None) -> Iterator[list[date]]:
    """The dates to copy, in groups of bounded size."""
    files = files_of(handle, table)
    if dates is not None:
        files = files.filter(pl.col("date").is_in(list(dates)))
    rows = dict(files.group_by("date").agg(pl.col("rows").sum()).iter_rows())
    if rows:
        for first, last in portions(rows, min(rows), max(rows), _CHUNK_ROWS):
            yield [day for day in rows if first <= day <= last]


def _clear(cursor: "Cursor", copy: Copy, dates: Sequence[date] | None) -> pl.DataFrame:
    """Remove the rows of some dates, or all rows and the index; returns the keys that go, with negative numbers."""
    gone = _no_keys()
    if dates is None:
        cursor.execute(f"DROP INDEX IF EXISTS {SCHEMA}.{copy.name}_{copy.partition}")
        cursor.execute(f"TRUNCATE {', '.join(f'{SCHEMA}.{name}' for name in (copy.name, copy.keys) if name)}")
    elif dates:
        listed = ", ".join(f"'{day}'" for day in dates)
        where = f"WHERE {copy.partition} IN ({listed})"
        if copy.counted:
            cursor.execute(
                f"SELECT {copy.counted} AS key, -count(*) AS rows FROM {SCHEMA}.{copy.name} {where} "
                f"AND {copy.counted} IS NOT NULL GROUP BY 1"
            )
            gone = pl.DataFrame(cursor.fetch_arrow_table()).cast(gone.schema)
        cursor.execute(f"DELETE FROM {SCHEMA}.{copy.name} {where}")
    return gone


@dataclass(frozen=True)
class _Copied:
    """How many rows were copied, and of each chunk how many of each key that is counted: key, rows."""

    rows: int
    keys: list[pl.DataFrame]


def _copy(cursor: "Cursor", chunks: Iterable[Frame], copy: Copy, target: str | None = None) -> _Copied:
    """Copy rows to the table of a copy, or to another one of the same columns."""
    copied, keys = 0, []
    for rows in chunks:
        kept = rows.filter(~nw.col("is_deleted")) if "is_deleted" in copy.without else rows
        frame = rows_of(kept.select(list(copy.types)))
        copied += frame.height
        if not frame.is_empty():
            cursor.adbc_ingest(target or copy.name, frame.to_arrow(), mode="append", db_schema_name=SCHEMA)
        if copy.counted:
            counted = frame.lazy().group_by(key=copy.counted).agg(rows=pl.len().cast(pl.Int64)).drop_nulls()
            keys.append(counted.collect())
    return _Copied(copied, keys)


def _copy_by_two(cursor: "Cursor", chunks: Sequence[Frame], copy: Copy) -> _Copied:
    """Copy rows through two connections, as one encodes rows and then waits until the server has taken them in.

    What a transaction has not committed no other one can add to: the second half goes to a table of its own, and from
    there, within the server, to where it belongs.
    """
    beside = f"{copy.name}_beside"

    def second_half() -> _Copied:
        with connect("warehouse") as connection, connection.cursor() as other:
            # Of a load that was killed; the lock on the copy keeps others out.
            other.execute(f"DROP TABLE IF EXISTS {SCHEMA}.{beside}")
            columns = ", ".join(f"{name} {kind}" for name, kind in copy.columns.items())
            other.execute(f"CREATE UNLOGGED TABLE {SCHEMA}.{beside} ({columns})")
            copied = _copy(other, chunks[1::2], copy, beside)
            connection.commit()
            return copied

    with ThreadPoolExecutor(1, thread_name_prefix=beside) as thread:
        second = thread.submit(second_half)
        halves = _copy(cursor, chunks[::2], copy), second.result()
    cursor.execute(f"INSERT INTO {SCHEMA}.{copy.name} SELECT * FROM {SCHEMA}.{beside}")
    cursor.execute(f"DROP TABLE {SCHEMA}.{beside}")
    return _Copied(sum(half.rows for half in halves), [keys for half in halves for keys in half.keys])


def _no_keys() -> pl.DataFrame:
    return pl.DataFrame(schema={"key": pl.String, "rows": pl.Int64})


def _count_keys(cursor: "Cursor", copy: Copy, counts: pl.DataFrame) -> None:
    """Add to the numbers of rows by key; a key without rows leaves the list."""
    # In order, so that the index grows at its end.
    changed = counts.group_by("key").agg(pl.col("rows").sum()).filter(pl.col("rows") != 0).sort("key")
    if changed.is_empty():
        return
    cursor.adbc_ingest("changed_keys", changed.to_arrow(), mode="create", temporary=True)
    cursor.execute(
        f"INSERT INTO {SCHEMA}.{copy.keys} AS listed SELECT key, rows FROM changed_keys "
        f"ON CONFLICT ({copy.counted}) DO UPDATE SET rows = listed.rows + excluded.rows"
    )
    cursor.execute(f"DELETE FROM {SCHEMA}.{copy.keys} WHERE rows = 0")
    cursor.execute("DROP TABLE changed_keys")


def _postgres_type(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Decimal):
        return f"numeric({dtype.precision},{dtype.scale})"
    return {
        pl.String: "text",
        pl.Int32: "integer",
        pl.Int64: "bigint",
        pl.Date: "date",
        pl.Boolean: "boolean",
        pl.Datetime: "timestamp with time zone",
    }[dtype.base_type()]
