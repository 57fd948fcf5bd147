"""How a table is opened as this program expects it, and created where nobody has made it.

What a table says of how it was made is `table_properties.py`; what follows from an older contract is
`schema_evolution.py`; which handles are remembered is `table_cache.py`.
"""

from collections.abc import Callable, Mapping

import polars as pl
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta import object_store, table_cache
from orders_lakehouse.delta.object_store import LakeError, StorageUnavailableError
from orders_lakehouse.delta.schema_evolution import Migrated, delta_fields, follow, migrate, require_types
from orders_lakehouse.delta.storage_errors import storage_trouble
from orders_lakehouse.delta.table_properties import TableProperties

# Opening a table reads the commits since the last checkpoint of its log.
_CONFIGURATION = {"delta.checkpointInterval": "10"}


def opened(
    location: str, table: Table, expected: TableProperties, open_handle: Callable[[str], DeltaTable]
) -> DeltaTable:
    """Open a table, creating it when it is not there.

    Args:
        location: Where the table lies.
        table: The table.
        expected: Properties that it is to have.
        open_handle: Opens a location: `table_cache.shared` to read, `table_cache.own` to write.

    Raises:
        LakeError: The table was made with another time zone or first partition, or by a program with a newer
            contract; or its storage cannot be used.
        StorageUnavailableError: Its storage does not answer.
    """
    try:
        with storage_trouble(location):
            handle = open_handle(location)
    except TableNotFoundError:
        handle = _created(location, table, expected)
    found = TableProperties.of(handle)
    if found.timezone != expected.timezone:
        raise LakeError(
            f"{table.path} was made with 'timezone={found.timezone}', the setting is 'timezone={expected.timezone}'. "
            f"Dates in the lake do not move: set LAKEHOUSE_TIMEZONE back, or point LAKE_URL at an empty place and "
            "backfill."
        )
    if None not in (found.start, expected.start) and found.start != expected.start:
        raise LakeError(
            f"{table.path} begins on {found.start}, and LAKEHOUSE_START_DATE is {expected.start}. Nothing was read or "
            f"written: set it back to {found.start}, or run `lakehouse migrate`, which moves the beginning to an "
            "earlier date."
        )
    if found.contract > expected.contract:
        raise LakeError(
            f"{table.path} was written under version {found.contract} of its contract, by a newer program; "
            f"this one expects version {expected.contract} at most. Nothing was read or written: upgrade the program."
        )
    if found.contract < expected.contract:
        require_types(handle, table)
    return handle


def opened_to_write(
    location: str, table: Table, expected: TableProperties, extra: Mapping[str, pl.DataType] | None = None
) -> DeltaTable:
    """Open a table, and bring one of an older contract up to the present one: new columns, then its properties.

    Args:
        location: Where the table lies.
        table: The table.
        expected: Properties that it is to have.
        extra: Columns beside the contract's that it is to have.

    Raises:
        LakeError: A column has changed its type since: the table has to be migrated; or as `opened` does.
    """
    handle = opened(location, table, expected, table_cache.own)
    found = TableProperties.of(handle)
    due = expected.starting_as(found)
    if found != due:
        follow(handle, table, due)
    add_columns(handle, extra or {})
    return handle


def add_columns(handle: DeltaTable, schema: Mapping[str, pl.DataType]) -> None:
    """Add those columns of a schema that a table lacks."""
    stored = {field.name for field in handle.schema().fields}
    missing = {name: dtype for name, dtype in schema.items() if name not in stored}
    if missing:
        with storage_trouble(handle.table_uri):
            handle.alter.add_columns(delta_fields(missing))


def migrated(location: str, table: Table, expected: TableProperties) -> Migrated | None:
    """Bring a table that an older program made up to its contract; None where there is nothing to do.

    Raises:
        LakeError: It was made with another time zone, or by a newer program, or has a type that cannot be followed.
        StorageUnavailableError: Another writer was faster.
    """
    try:
        with storage_trouble(location):
            handle = table_cache.own(location)
    except TableNotFoundError:
        return None
    found = TableProperties.of(handle)
    if found.contract >= expected.contract:
        return None
    try:
        done = migrate(handle, table, expected.starting_as(found))
    except CommitFailedError as error:
        raise StorageUnavailableError(
            f"{table.path} was written while it was migrated: {error}. Stop what else is at work, then migrate again."
        ) from error
    table_cache.give(location, handle)
    return done


def _created(location: str, table: Table, expected: TableProperties) -> DeltaTable:
    with storage_trouble(location):
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
                # Retried, the loser of a race would commit the table's making a second time.
                commit_properties=CommitProperties(max_commit_retries=0),
            )
        except DeltaError as error:
            # Another process made it in the meantime; if not, something else went wrong.
            try:
                return table_cache.own(location)
            except TableNotFoundError:
                raise error from None


def _statistics(table: Table) -> dict[str, str]:
    """Return the setting that keeps statistics of each file for those columns alone that rows are looked for by.

    A table without dates has few files, so all of its columns may have them. The log of one with dates is read whole
    each time the table is opened.
    """
    if table.partitioned_by is None:
        return {}
    instants = [name for name, dtype in table.schema.items() if isinstance(dtype, pl.Datetime)]
    columns = [name for name in dict.fromkeys([*table.key, *instants]) if name != table.partitioned_by]
    return {"delta.dataSkippingStatsColumns": ",".join(columns)}
