"""Load copies of lake tables into the warehouse's schema `lake`, for dbt.

The transaction that loads a copy also records the version of the Delta table. The next load replaces what changed since
that version, even if a load in between was interrupted. On each date it replaces only the changed rows, or all rows if
many changed. Loads of the same table run one at a time, so that older rows never replace newer ones.

The copies and the table of recorded versions are unlogged, so both are empty after a crash of the server. Then the next
load copies everything.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deltalake import DeltaTable

from orders_lakehouse.delta.log import dates_changed_since
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.postgres.connections import connect, lock_by_name, value_of
from orders_lakehouse.warehouse.copies import Copy, lake_schema
from orders_lakehouse.warehouse.ownership import (
    LOADED,
    drop_views_of_ours_on,
    register,
    require_no_dependents,
    require_ours,
)
from orders_lakehouse.warehouse.replace_rows import count_keys, index_of, replace_all, replace_changed

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection, Cursor

# Number of concurrent loads. Postgres reads the rows of one while the rows of the other are encoded.
_LOADS_AT_ONCE = 2


@dataclass(frozen=True)
class Loaded:
    """The outcome of a load.

    Attributes:
        rows: Number of rows copied.
        dates: Number of dates with changed files; None if the whole table was replaced.
        version: Version of the Delta table that the copy now holds.
    """

    rows: int
    dates: int | None
    version: int


def load_all(lake: Lake, copies: Sequence[Copy]) -> Iterator[tuple[Copy, Loaded | ExpectedError]]:
    """Load copies, two at a time, and yield the outcome of each in order: what was loaded, or the error.

    Args:
        lake: The lake.
        copies: The copies, the largest first.
    """

    def outcome_of(copy: Copy) -> Loaded | ExpectedError:
        try:
            return load(lake, copy)
        except ExpectedError as error:
            return error

    with ThreadPoolExecutor(_LOADS_AT_ONCE, thread_name_prefix="load") as pool:
        yield from zip(copies, pool.map(outcome_of, copies), strict=True)


def load(lake: Lake, copy: Copy) -> Loaded:
    """Bring a copy up to the latest version of its Delta table.

    Args:
        lake: The lake.
        copy: The copy to load.

    Returns:
        The outcome; no rows if the copy was up to date.

    Raises:
        DatabaseError: The warehouse refuses a statement.
        DatabaseUnavailableError: The warehouse cannot be reached.
    """
    with connect("warehouse") as connection, connection.cursor() as cursor:
        _prepare(connection, cursor, copy)
        # The table is opened under the lock, so that the recorded version never goes back.
        handle = lake.open(copy.table)
        since = _loaded_version(cursor, copy, handle)
        dates = None if since is None else dates_changed_since(lake, handle, copy.table, since)
        copied = None
        if since is not None and dates is not None:
            copied = replace_changed(cursor, lake, copy, (lake.find(copy.table, since), handle), dates)
        if copied is None:
            dates, copied = None, replace_all(cursor, lake, copy, handle)
        if copy.counted:
            count_keys(cursor, copy, copied.keys)
        if dates is None:
            # The index is created after all rows are copied, because this order takes a third of the time.
            cursor.execute(f"CREATE INDEX {index_of(copy)} ON {lake_schema()}.{copy.name} ({copy.partition})")
        cursor.execute(f"DELETE FROM {lake_schema()}.{LOADED} WHERE table_name = '{copy.name}'")
        cursor.execute(
            f"INSERT INTO {lake_schema()}.{LOADED} "
            f"VALUES ('{copy.name}', '{handle.metadata().id}', {handle.version()}, clock_timestamp())"
        )
        connection.commit()
        if dates is None:
            # ANALYZE runs after the commit: the server does not count one within the transaction, and would repeat it.
            cursor.execute(f"ANALYZE {lake_schema()}.{copy.name}")
            connection.commit()
        return Loaded(copied.rows, None if dates is None else len(dates), handle.version())


def loaded_versions() -> dict[str, int]:
    """Return the version of each Delta table that the warehouse holds, by name of the copy."""
    with connect("warehouse") as connection, connection.cursor() as cursor:
        return _loaded_versions(cursor)


def _loaded_versions(cursor: "Cursor") -> dict[str, int]:
    if value_of(cursor, f"SELECT to_regclass('{lake_schema()}.{LOADED}')::text") is None:
        return {}
    cursor.execute(f"SELECT table_name, delta_version FROM {lake_schema()}.{LOADED}")
    return dict(cursor.fetchall())


def make_table_of_versions(cursor: "Cursor") -> None:
    """Create the table of loaded versions if necessary; call `require_ours` before."""
    schema = lake_schema()
    if value_of(cursor, f"SELECT to_regclass('{schema}.{LOADED}')::text") is None:
        cursor.execute(
            f"CREATE UNLOGGED TABLE {schema}.{LOADED} (table_name text PRIMARY KEY, delta_id text NOT NULL, "
            "delta_version bigint NOT NULL, loaded_at timestamptz NOT NULL)"
        )
        register(cursor, schema, LOADED)


def _prepare(connection: "Connection", cursor: "Cursor", copy: Copy) -> None:
    """Create the table of a copy if necessary, and wait for another load of the same table.

    Raises:
        DatabaseError: An object of others has one of our names, or depends on a table that has to be created again.
    """
    require_ours(cursor)
    schema = lake_schema()
    make_table_of_versions(cursor)
    wanted = {copy.name: copy.columns}
    if copy.keys and copy.counted:
        wanted[copy.keys] = {copy.counted: f"{copy.types[copy.counted]} NOT NULL", "rows": "bigint NOT NULL"}
    if {name: _existing_columns(cursor, name) for name in wanted} != wanted:
        cursor.execute(f"DELETE FROM {schema}.{LOADED} WHERE table_name = '{copy.name}'")
        for name, columns in wanted.items():
            if _existing_columns(cursor, name):
                require_no_dependents(cursor, schema, name)
                drop_views_of_ours_on(cursor, schema, name)
                cursor.execute(f"DROP TABLE {schema}.{name}")
            described = ", ".join(f"{column} {kind}" for column, kind in columns.items())
            cursor.execute(f"CREATE UNLOGGED TABLE {schema}.{name} ({described})")
            register(cursor, schema, name)
        if copy.keys:
            cursor.execute(f"ALTER TABLE {schema}.{copy.keys} ADD PRIMARY KEY ({copy.counted})")
    connection.commit()
    lock_by_name(cursor, f"{schema}.{copy.name}")


def _existing_columns(cursor: "Cursor", name: str) -> dict[str, str]:
    """Return types by column of an existing table; empty if there is none."""
    cursor.execute(
        "SELECT attname, format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END "
        f"FROM pg_attribute WHERE attrelid = to_regclass('{lake_schema()}.{name}') AND attnum > 0 AND NOT attisdropped "
        "ORDER BY attnum"
    )
    return dict(cursor.fetchall())


def _loaded_version(cursor: "Cursor", copy: Copy, handle: DeltaTable) -> int | None:
    cursor.execute(f"SELECT delta_id, delta_version FROM {lake_schema()}.{LOADED} WHERE table_name = '{copy.name}'")
    loaded = cursor.fetchone()
    if loaded is None or loaded[0] != str(handle.metadata().id) or loaded[1] > handle.version():
        return None
    return int(loaded[1])
