"""The lake tables of which the warehouse has copies, and the columns of the copies."""

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from orders_lakehouse.contracts.cleansed import CAPTURED
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.registry import CURATED_TABLES
from orders_lakehouse.entities.registry import ENTITIES
from orders_lakehouse.settings import settings


def lake_schema() -> str:
    """Return the schema of the copies."""
    return settings().lake_schema


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


@dataclass(frozen=True)
class Copy:
    """A lake table in the warehouse.

    Attributes:
        table: The lake table.
        without: Columns that dbt does not need.
        counted: Column of keys that a second table lists with the number of their rows, so that the keys are known
            without reading every row.
        required: Columns that are never null, in addition to those that the contract declares so.

    The contract does not judge tombstones. So in a copy with tombstones only the columns that the pipeline itself
    writes are NOT NULL.
    """

    table: Table
    without: frozenset[str] = frozenset()
    counted: str | None = None
    required: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Return the name of the table in the warehouse."""
        return self.table.name

    @property
    def partition(self) -> str:
        """Return the date column by which rows are replaced."""
        return str(self.table.partitioned_by)

    @cached_property
    def types(self) -> dict[str, str]:
        """Return Postgres types by column name."""
        return {name: _postgres_type(dtype) for name, dtype in self.table.schema.items() if name not in self.without}

    @property
    def holds_tombstones(self) -> bool:
        """Return whether deleted rows are copied, with `is_deleted`; a copy without this column leaves them out."""
        return "is_deleted" in self.types

    @property
    def columns(self) -> dict[str, str]:
        """Return Postgres types by column name, with NOT NULL where it holds."""
        if self.holds_tombstones:
            required = _EVEN_OF_TOMBSTONES
        else:
            demanded = self.table.model.to_schema().columns
            required = self.required.union(name for name, column in demanded.items() if not column.nullable)
        return {name: f"{kind} NOT NULL" if name in required else kind for name, kind in self.types.items()}

    @property
    def keys(self) -> str | None:
        """Return the name of the table that lists the counted keys, with the columns of the key and `rows`."""
        return f"{self.name}_by_{self.counted}" if self.counted else None


# Columns that the pipeline itself writes into every row.
_EVEN_OF_TOMBSTONES = frozenset({"is_deleted", *CAPTURED})
COPIES = tuple(
    Copy(table, copied.without, copied.counted, copied.required)
    for table, copied in (
        *((entity.cleansed, entity.copied) for entity in ENTITIES),
        *((curated.table, curated.copied) for curated in CURATED_TABLES),
    )
    if copied is not None
)
