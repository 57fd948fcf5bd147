"""Bring rows in memory into the shape of a table: its columns, types and order.

`schema_evolution.py` handles what a table stores under an older contract.
"""

from collections.abc import Mapping

import polars as pl

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.object_store import LakeError


def conform(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Return the columns of a table in its order, sorted by partition.

    A wrong type is an error and is never cast silently. Only an untyped column of nulls gets the expected type.

    Raises:
        LakeError: A column has another type.
    """
    ordered = rows.select(table.columns)
    if table.partitioned_by is not None:
        ordered = by_partition(ordered, table)
    wrong = [
        f"{name}: expected {expected}, found {found}"
        for (name, expected), found in zip(table.schema.items(), ordered.dtypes, strict=True)
        if found not in (expected, pl.Null)
    ]
    if wrong:
        raise LakeError(f"rows for {table.path} do not fit its contract: {'; '.join(wrong)}")
    return ordered.cast({name: dtype for name, dtype in table.schema.items() if ordered.schema[name] == pl.Null})


def by_partition(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Return rows sorted by partition, so that the writer holds one open file instead of one for each date."""
    partition = str(table.partitioned_by)
    return rows if rows[partition].is_sorted() else rows.sort(partition)


def with_columns_of(rows: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return rows with the columns and types of a schema; columns that the rows lack are null."""
    return rows.select(
        pl.col(name).cast(dtype) if name in rows.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in schema.items()
    )
