"""Tables of an older contract: how they are read, which changes the next write makes, and their migration.

The next write adds a new column. `lakehouse migrate` changes the type of a column once; until then the table can be
neither read nor written. Its older versions stay readable, because their values are cast when they are read.
`opening.py` decides which programs may open a table.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import narwhals as nw
import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.schema import Field, Schema

from orders_lakehouse.contracts.base import contract_version
from orders_lakehouse.contracts.raw import BEFORE
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.storage_errors import explain_storage_errors
from orders_lakehouse.delta.table_properties import TableProperties

# Number of dates in memory at once while a table is rewritten.
_REWRITTEN = 30
# Largest number of digits of an integer, by its type.
_DIGITS: Mapping[type[pl.DataType], int] = {pl.Int32: 10, pl.Int64: 19}


@dataclass(frozen=True)
class Migrated:
    """The outcome of the migration of a table.

    Attributes:
        table: The table.
        contract: Version of the contract before the migration.
        retyped: Columns that got another type, each with the old and the new type.
        added: Columns that were added.
    """

    table: Table
    contract: int
    retyped: list[str]
    added: list[str]


def as_contract(rows: Frame, handle: DeltaTable, table: Table) -> Frame:
    """Return rows with the columns and types of a table's contract; further stored columns are dropped.

    Args:
        rows: Stored rows.
        handle: The table, at any of its versions.
        table: The table, with its contract.

    Returns:
        The columns of the contract. Rows that are older than a column have null in it, or the value that the contract
        gives for such rows.
    """
    stored = pl.Schema(handle.schema())
    wanted = nw.from_native(pl.DataFrame(schema=table.schema)).schema
    converted = []
    for name, dtype in table.schema.items():
        before = BEFORE.get(name) if table.layer in ("raw", "quarantine") else None
        if name not in stored:
            converted.append(nw.lit(before).cast(wanted[name]).alias(name))
        elif stored[name] != dtype:
            converted.append(_cast(name, stored[name], dtype, wanted[name]))
        elif before is not None:
            converted.append(nw.col(name).fill_null(before))
    return (rows.with_columns(*converted) if converted else rows).select(table.columns)


def _cast(name: str, stored: pl.DataType, dtype: pl.DataType, wanted: nw.dtypes.DType) -> nw.Expr:
    """Return a stored column in the type of its contract; null where a value does not fit."""
    value = nw.col(name)
    if isinstance(dtype, pl.Decimal) and _digits(stored) > _digits(dtype):
        limit = 10.0 ** _digits(dtype)
        value = nw.when(value.cast(nw.Float64).abs() < limit).then(value)
    return value.cast(wanted).alias(name)


def columns_since(handle: DeltaTable, table: Table) -> dict[str, pl.DataType]:
    """Return the columns of a table's contract that the stored table does not have yet."""
    stored = {field.name for field in handle.schema().fields}
    return {name: dtype for name, dtype in table.schema.items() if name not in stored}


def require_types(handle: DeltaTable, table: Table) -> None:
    """Refuse a table that has a column of another type than its contract says.

    Raises:
        LakeError: The table has to be migrated, or cannot be.
    """
    stored = pl.Schema(handle.schema())
    changed = _retyped(stored, table)
    if not changed:
        return
    stored_version = TableProperties.of(handle).contract
    before = f"{table.path} was written under version {stored_version} of its contract, the program expects"
    version = contract_version(table.model)
    differences = "; ".join(f"{name}: expected {table.schema[name]}, found {stored[name]}" for name in changed)
    if any(not _can_follow(stored[name], table.schema[name]) for name in changed):
        raise LakeError(
            f"{before} version {version}, and the types cannot be converted: {differences}. Set LAKE_URL to an empty "
            "place and backfill, or go back to the program that wrote it."
        )
    raise LakeError(
        f"{before} version {version}: {differences}. Nothing was read or written. Run `lakehouse migrate` once, while "
        "no other program works; it says what to run afterwards."
    )


def follow(handle: DeltaTable, table: Table, due: TableProperties) -> None:
    """Add the columns that are new in a table's contract, and set its properties."""
    require_types(handle, table)
    new = columns_since(handle, table)
    with explain_storage_errors(handle.table_uri):
        if new:
            handle.alter.add_columns(delta_fields(new))
        handle.alter.set_table_description(str(due))


def migrate(handle: DeltaTable, table: Table, due: TableProperties) -> Migrated | None:
    """Migrate a table to its contract: types, new columns, properties.

    Args:
        handle: The table, opened for this writer alone.
        table: The table.
        due: Properties that it gets.

    Returns:
        The outcome; None if there was nothing to do.

    Raises:
        LakeError: A column has a type that cannot be converted.
    """
    properties = TableProperties.of(handle)
    if properties == due:
        return None
    stored = pl.Schema(handle.schema())
    changed = _retyped(stored, table)
    refused = [name for name in changed if not _can_follow(stored[name], table.schema[name])]
    if refused:
        require_types(handle, table)
    if changed:
        _rewrite(handle, table, {**stored, **{name: table.schema[name] for name in changed}})
    added = list(columns_since(handle, table))
    follow(handle, table, due)
    return Migrated(
        table, properties.contract, [f"{name} {stored[name]} → {table.schema[name]}" for name in changed], added
    )


def delta_fields(schema: Mapping[str, pl.DataType]) -> list[Field]:
    """Return columns as fields of a Delta schema."""
    return Schema.from_arrow(pl.DataFrame(schema=schema).to_arrow().schema).fields


def _retyped(stored: pl.Schema, table: Table) -> list[str]:
    return [name for name, dtype in table.schema.items() if name in stored and stored[name] != dtype]


def _digits(dtype: pl.DataType) -> int:
    """Return the largest number of digits before the decimal point."""
    if isinstance(dtype, pl.Decimal):
        return int(dtype.precision or 38) - dtype.scale
    return _DIGITS.get(dtype.base_type(), 0)


def _can_follow(stored: pl.DataType, wanted: pl.DataType) -> bool:
    """Return whether every value keeps its meaning in another type: a wider integer, text, or more decimals."""
    is_integer = stored.base_type() in _DIGITS
    if isinstance(wanted, pl.Decimal):
        return is_integer or (isinstance(stored, pl.Decimal) and stored.scale <= wanted.scale)
    return is_integer and wanted in (pl.Int64, pl.String)


def _rewrite(handle: DeltaTable, table: Table, schema: Mapping[str, pl.DataType]) -> None:
    """Rewrite a table with other types in one commit, which fails if another writer commits meanwhile."""
    arrow = pl.DataFrame(schema=schema).to_arrow().schema
    # The cast is not strict: a number with too many digits becomes null until its date is derived again.
    rows = object_store.scan(handle).cast(pl.Schema(schema), strict=False)
    partition = table.partitioned_by

    def batches() -> Iterator[pa.RecordBatch]:
        if partition is None:
            yield from rows.collect().to_arrow().cast(arrow).to_batches()
            return
        dates = sorted(set(rows.select(partition).unique().collect()[partition]))
        for begin in range(0, len(dates), _REWRITTEN):
            some = rows.filter(pl.col(partition).is_in(dates[begin : begin + _REWRITTEN]))
            yield from some.sort(partition).collect().to_arrow().cast(arrow).to_batches()

    with explain_storage_errors(handle.table_uri):
        write_deltalake(
            handle,
            pa.RecordBatchReader.from_batches(arrow, batches()),
            mode="overwrite",
            schema_mode="overwrite",
            commit_properties=CommitProperties(max_commit_retries=0),
        )
