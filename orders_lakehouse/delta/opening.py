"""Open a table and check that it fits this program; create it where it does not exist.

`table_properties.py` reads how a table was made, `schema_evolution.py` handles older contracts, and `table_cache.py`
remembers open handles.
"""

from collections.abc import Callable, Mapping

import polars as pl
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta import object_store, table_cache
from orders_lakehouse.delta.object_store import LakeError, StorageUnavailableError
from orders_lakehouse.delta.schema_evolution import Migrated, delta_fields, follow, migrate, require_types
from orders_lakehouse.delta.storage_errors import explain_storage_errors
from orders_lakehouse.delta.table_properties import TableProperties

# Configuration of new tables. A checkpoint every ten commits keeps opening fast: a reader reads the commits after it.
_CONFIGURATION = {"delta.checkpointInterval": "10"}


def open_checked(
    location: str, table: Table, expected: TableProperties, open_handle: Callable[[str], DeltaTable]
) -> DeltaTable:
    """Open a table, and create it if it does not exist.

    Args:
        location: Location of the table.
        table: The table.
        expected: Properties that it must have.
        open_handle: Opens a location: `table_cache.open_shared` to read, `table_cache.open_own` to write.

    Raises:
        LakeError: The table was made with another time zone or first partition, or by a program with a newer
            contract; or its storage cannot be used.
        StorageUnavailableError: Its storage does not answer.
    """
    try:
        with explain_storage_errors(location):
            handle = open_handle(location)
    except TableNotFoundError:
        handle = _created(location, table, expected)
    stored = TableProperties.of(handle)
    if stored.timezone != expected.timezone:
        raise LakeError(
            f"{table.path} was made with 'timezone={stored.timezone}', the setting is 'timezone={expected.timezone}'. "
            "Stored dates cannot change their time zone: set LAKEHOUSE_TIMEZONE back, or set LAKE_URL to an empty "
            "place and backfill."
        )
    if None not in (stored.start, expected.start) and stored.start != expected.start:
        raise LakeError(
            f"{table.path} begins on {stored.start}, and LAKEHOUSE_START_DATE is {expected.start}. Nothing was read or "
            f"written: set it back to {stored.start}, or run `lakehouse migrate`, which moves the beginning to an "
            "earlier date."
        )
    if stored.contract > expected.contract:
        raise LakeError(
            f"{table.path} was written under version {stored.contract} of its contract, by a newer program; "
            f"this one expects version {expected.contract} at most. Nothing was read or written: upgrade the program."
        )
    if stored.contract < expected.contract:
        require_types(handle, table)
    return handle


def open_to_write(
    location: str, table: Table, expected: TableProperties, extra: Mapping[str, pl.DataType] | None = None
) -> DeltaTable:
    """Open a table to write, and update it from an older contract to the current one: new columns, then properties.

    Args:
        location: Location of the table.
        table: The table.
        expected: Properties that it must have.
        extra: Columns that it must have in addition to those of its contract.

    Raises:
        LakeError: The contract changes the type of a column, so the table has to be migrated; or see `open_checked`.
    """
    handle = open_checked(location, table, expected, table_cache.open_own)
    stored = TableProperties.of(handle)
    wanted = expected.starting_as(stored)
    if stored != wanted:
        follow(handle, table, wanted)
    add_columns(handle, extra or {})
    return handle


def add_columns(handle: DeltaTable, schema: Mapping[str, pl.DataType]) -> None:
    """Add those columns of a schema that a table lacks."""
    stored = {field.name for field in handle.schema().fields}
    missing = {name: dtype for name, dtype in schema.items() if name not in stored}
    if missing:
        with explain_storage_errors(handle.table_uri):
            handle.alter.add_columns(delta_fields(missing))


def migrate_table(location: str, table: Table, expected: TableProperties) -> Migrated | None:
    """Migrate a table of an older program to its contract; return None where there is nothing to do.

    Raises:
        LakeError: It was made with another time zone, or by a newer program, or has a type that cannot be converted.
        StorageUnavailableError: Another writer was faster.
    """
    try:
        with explain_storage_errors(location):
            handle = table_cache.open_own(location)
    except TableNotFoundError:
        return None
    stored = TableProperties.of(handle)
    if stored.contract >= expected.contract:
        return None
    try:
        migration = migrate(handle, table, expected.starting_as(stored))
    except CommitFailedError as error:
        raise StorageUnavailableError(
            f"{table.path} was written while it was migrated: {error}. Stop all other programs, then migrate again."
        ) from error
    table_cache.share(location, handle)
    return migration


def _created(location: str, table: Table, expected: TableProperties) -> DeltaTable:
    with explain_storage_errors(location):
        try:
            return DeltaTable.create(
                location,
                schema=pl.DataFrame(schema=table.schema).to_arrow().schema,
                partition_by=[table.partitioned_by] if table.partitioned_by else None,
                name=table.path,
                description=str(expected),
                configuration={**_CONFIGURATION, **_statistics(table)},
                mode="error",
                storage_options=object_store.options(location),
                # A retry would let the loser of a race create the table a second time.
                commit_properties=CommitProperties(max_commit_retries=0),
            )
        except DeltaError as error:
            # Another process may have created it in the meantime; if not, the first error is the cause.
            try:
                return table_cache.open_own(location)
            except TableNotFoundError:
                raise error from None


def _statistics(table: Table) -> dict[str, str]:
    """Return the setting that keeps statistics only for columns by which rows are searched.

    A table with dates has many files, and their statistics are read each time it is opened. A table without dates has
    few files, so all of its columns may have statistics.
    """
    if table.partitioned_by is None:
        return {}
    instants = [name for name, dtype in table.schema.items() if isinstance(dtype, pl.Datetime)]
    columns = [name for name in dict.fromkeys([*table.key, *instants]) if name != table.partitioned_by]
    return {"delta.dataSkippingStatsColumns": ",".join(columns)}
