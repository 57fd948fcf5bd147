"""Copies of lake tables in the warehouse's schema `lake`, for dbt.

A copy remembers which version of its Delta table it holds, in the transaction that loads it. A load replaces what
changed since that version, one load at a time for each table, so that it never puts older rows over newer ones, and a
load that was interrupted is made up for by the next: of a date the rows that changed, or all of them where many did.

The copies are unlogged: after a crash of the server they are empty, and so is their memory: whatever is made from them
loads them in full before it begins.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deltalake import DeltaTable

from orders_lakehouse.delta.log import dates_changed_since
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.postgres.connections import connect, value_of, wait_for_turn
from orders_lakehouse.warehouse.copies import COPIES, Copy, lake_schema
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


@dataclass(frozen=True)
class Loaded:
    """What a load did.

    Attributes:
        rows: Rows copied.
        dates: Dates whose files were others; None when the whole table was replaced.
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
        copied = None
        if since is not None and dates is not None:
            copied = replace_changed(cursor, lake, copy, (lake.find(copy.table, since), handle), dates)
        if copied is None:
            dates, copied = None, replace_all(cursor, lake, copy, handle)
        if copy.counted:
            count_keys(cursor, copy, copied.keys)
        if dates is None:
            # An index that is made of all rows at once takes a third of the time.
            cursor.execute(f"CREATE INDEX {index_of(copy)} ON {lake_schema()}.{copy.name} ({copy.partition})")
        cursor.execute(f"DELETE FROM {lake_schema()}.{LOADED} WHERE table_name = '{copy.name}'")
        cursor.execute(
            f"INSERT INTO {lake_schema()}.{LOADED} "
            f"VALUES ('{copy.name}', '{handle.metadata().id}', {handle.version()}, clock_timestamp())"
        )
        connection.commit()
        if dates is None:
            # After the load: within it, the server would take the rows for new ones and do it once more by itself.
            cursor.execute(f"ANALYZE {lake_schema()}.{copy.name}")
            connection.commit()
        return Loaded(copied.rows, None if dates is None else len(dates), handle.version())


def loaded_versions() -> dict[str, int]:
    """Version of each Delta table that the warehouse holds."""
    with connect("warehouse") as connection, connection.cursor() as cursor:
        return _loaded_versions(cursor)


def _loaded_versions(cursor: "Cursor") -> dict[str, int]:
    if value_of(cursor, f"SELECT to_regclass('{lake_schema()}.{LOADED}')::text") is None:
        return {}
    cursor.execute(f"SELECT table_name, delta_version FROM {lake_schema()}.{LOADED}")
    return dict(cursor.fetchall())


def lost_copies() -> list[Copy]:
    """Return the copies that are empty for want of a load, as all are after a crash of the server.

    Whatever is made from the copies asks for this first: from an empty one, it would lose its rows. It may not write
    where others have put something, either.

    Returns:
        None, as a rule.

    Raises:
        DatabaseError: The warehouse refuses a statement, or has something of others under one of our names.
        DatabaseUnavailableError: The warehouse cannot be reached.
    """
    with connect("warehouse") as connection, connection.cursor() as cursor:
        require_ours(cursor)
        loaded = _loaded_versions(cursor)
        connection.commit()
    return [copy for copy in COPIES if copy.name not in loaded]


def _prepare(connection: "Connection", cursor: "Cursor", copy: Copy) -> None:
    """Make the table when it is not there, and wait for another load of the same table.

    Raises:
        DatabaseError: Something of the warehouse's is not ours and has one of our names, or depends on a table that
            has to be made anew.
    """
    require_ours(cursor)
    schema = lake_schema()
    if value_of(cursor, f"SELECT to_regclass('{schema}.{LOADED}')::text") is None:
        cursor.execute(
            f"CREATE UNLOGGED TABLE {schema}.{LOADED} (table_name text PRIMARY KEY, delta_id text NOT NULL, "
            "delta_version bigint NOT NULL, loaded_at timestamptz NOT NULL)"
        )
        register(cursor, schema, LOADED)
    made = {copy.name: copy.columns}
    if copy.keys and copy.counted:
        made[copy.keys] = {copy.counted: f"{copy.types[copy.counted]} NOT NULL", "rows": "bigint NOT NULL"}
    if {name: _standing_columns(cursor, name) for name in made} != made:
        cursor.execute(f"DELETE FROM {schema}.{LOADED} WHERE table_name = '{copy.name}'")
        for name, columns in made.items():
            if _standing_columns(cursor, name):
                require_no_dependents(cursor, schema, name)
                drop_views_of_ours_on(cursor, schema, name)
                cursor.execute(f"DROP TABLE {schema}.{name}")
            described = ", ".join(f"{column} {kind}" for column, kind in columns.items())
            cursor.execute(f"CREATE UNLOGGED TABLE {schema}.{name} ({described})")
            register(cursor, schema, name)
        if copy.keys:
            cursor.execute(f"ALTER TABLE {schema}.{copy.keys} ADD PRIMARY KEY ({copy.counted})")
    connection.commit()
    wait_for_turn(cursor, f"{schema}.{copy.name}")


def _standing_columns(cursor: "Cursor", name: str) -> dict[str, str]:
    """Columns and types of a table as it stands; empty when there is none."""
    cursor.execute(
        "SELECT attname, format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END "
        f"FROM pg_attribute WHERE attrelid = to_regclass('{lake_schema()}.{name}') AND attnum > 0 AND NOT attisdropped "
        "ORDER BY attnum"
    )
    return dict(cursor.fetchall())


def _loaded_version(cursor: "Cursor", copy: Copy, handle: DeltaTable) -> int | None:
    cursor.execute(f"SELECT delta_id, delta_version FROM {lake_schema()}.{LOADED} WHERE table_name = '{copy.name}'")
    found = cursor.fetchone()
    if found is None or found[0] != str(handle.metadata().id) or found[1] > handle.version():
        return None
    return int(found[1])
