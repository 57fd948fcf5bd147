"""Tables that were written under an older contract: how they are read, which changes a write follows, what migrates.

A column that was added is followed by the next write. A column that has another type is migrated once, by
`lakehouse migrate`; until then nobody reads or writes the table. Its older versions stay readable: their values are
cast when they are read. Which programs may open a table at all is decided in `opening.py`.
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
from orders_lakehouse.delta.storage_errors import storage_trouble
from orders_lakehouse.delta.table_properties import TableProperties

# Dates in memory at once while a table is written anew.
_REWRITTEN = 30
# Most digits of an integer, by its type.
_DIGITS: Mapping[type[pl.DataType], int] = {pl.Int32: 10, pl.Int64: 19}


@dataclass(frozen=True)
class Migrated:
    """What a migration did to a table.

    Attributes:
        table: The table.
        contract: Version of the contract that it was written under.
        retyped: Columns that got another type, each with both.
        added: Columns that were added.
    """

    table: Table
    contract: int
    retyped: list[str]
    added: list[str]


def as_contract(rows: Frame, handle: DeltaTable, table: Table) -> Frame:
    """The columns of a table's contract: in its types, without what the table has beside them.

    Args:
        rows: Rows as the table has them.
        handle: The table, at any of its versions.
        table: Its contract.

    Returns:
        The columns of the contract. What rows of before a column have in it is null, or what the contract says.
    """
    stored = pl.Schema(handle.schema())
    wanted = nw.from_native(pl.DataFrame(schema=table.schema)).schema
    made = []
    for name, dtype in table.schema.items():
        before = BEFORE.get(name) if table.layer in ("raw", "quarantine") else None
        if name not in stored:
            made.append(nw.lit(before).cast(wanted[name]).alias(name))
        elif stored[name] != dtype:
            made.append(_cast(name, stored[name], dtype, wanted[name]))
        elif before is not None:
            made.append(nw.col(name).fill_null(before))
    return (rows.with_columns(*made) if made else rows).select(table.columns)


def _cast(name: str, stored: pl.DataType, dtype: pl.DataType, wanted: nw.dtypes.DType) -> nw.Expr:
    """A stored column in the type of its contract; null where it does not fit."""
    value = nw.col(name)
    if isinstance(dtype, pl.Decimal) and _digits(stored) > _digits(dtype):
        limit = 10.0 ** _digits(dtype)
        value = nw.when(value.cast(nw.Float64).abs() < limit).then(value)
    return value.cast(wanted).alias(name)


def columns_since(handle: DeltaTable, table: Table) -> dict[str, pl.DataType]:
    """Columns of a table's contract that the table, written under an older one, does not have yet."""
    there = {field.name for field in handle.schema().fields}
    return {name: dtype for name, dtype in table.schema.items() if name not in there}


def require_types(handle: DeltaTable, table: Table) -> None:
    """Refuse a table some of whose columns have another type than its contract says.

    Raises:
        LakeError: It has to be migrated, or cannot be followed.
    """
    stored = pl.Schema(handle.schema())
    changed = _retyped(stored, table)
    if not changed:
        return
    found = TableProperties.of(handle).contract
    before = f"{table.path} was written under version {found} of its contract, the program expects"
    version = contract_version(table.model)
    said = "; ".join(f"{name}: expected {table.schema[name]}, found {stored[name]}" for name in changed)
    if any(not _can_follow(stored[name], table.schema[name]) for name in changed):
        raise LakeError(
            f"{before} version {version}, and it does not fit that: {said}. Point LAKE_URL at an empty place and "
            "backfill, or go back to the program that wrote it."
        )
    raise LakeError(
        f"{before} version {version}: {said}. Nothing was read or written. Run `lakehouse migrate` once, with nothing "
        "else at work; it says what to run afterwards."
    )


def follow(handle: DeltaTable, table: Table, due: TableProperties) -> None:
    """Add the columns that a table's contract has got since, and set its properties."""
    require_types(handle, table)
    new = columns_since(handle, table)
    with storage_trouble(handle.table_uri):
        if new:
            handle.alter.add_columns(delta_fields(new))
        handle.alter.set_table_description(str(due))


def migrate(handle: DeltaTable, table: Table, due: TableProperties) -> Migrated | None:
    """Bring a table up to its contract: in other types, with new columns and properties.

    Args:
        handle: The table, to write.
        table: The table.
        due: The properties that it is to have.

    Returns:
        What was done; None when there was nothing to do.

    Raises:
        LakeError: A column has a type that cannot be followed.
    """
    found = TableProperties.of(handle)
    if found == due:
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
    return Migrated(table, found.contract, [f"{name} {stored[name]} → {table.schema[name]}" for name in changed], added)


def delta_fields(schema: Mapping[str, pl.DataType]) -> list[Field]:
    """Columns as Delta describes them."""
    return Schema.from_arrow(pl.DataFrame(schema=schema).to_arrow().schema).fields


def _retyped(stored: pl.Schema, table: Table) -> list[str]:
    return [name for name, dtype in table.schema.items() if name in stored and stored[name] != dtype]


def _digits(dtype: pl.DataType) -> int:
    """Most digits before the decimal point."""
    if isinstance(dtype, pl.Decimal):
        return int(dtype.precision or 38) - dtype.scale
    return _DIGITS.get(dtype.base_type(), 0)


def _can_follow(stored: pl.DataType, wanted: pl.DataType) -> bool:
    """Whether a value of a type is the same value in another one: in a wider integer, in text, with more decimals."""
    is_integer = stored.base_type() in _DIGITS
    if isinstance(wanted, pl.Decimal):
        return is_integer or (isinstance(stored, pl.Decimal) and stored.scale <= wanted.scale)
    return is_integer and wanted in (pl.Int64, pl.String)


def _rewrite(handle: DeltaTable, table: Table, schema: Mapping[str, pl.DataType]) -> None:
    """Write a table anew in other types, in one commit; whoever writes to it meanwhile makes that fail."""
    arrow = pl.DataFrame(schema=schema).to_arrow().schema
    # Not strictly: a number of more digits than the type has becomes null, until its date is derived again.
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

    with storage_trouble(handle.table_uri):
        write_deltalake(
            handle,
            pa.RecordBatchReader.from_batches(arrow, batches()),
            mode="overwrite",
            schema_mode="overwrite",
            commit_properties=CommitProperties(max_commit_retries=0),
        )
