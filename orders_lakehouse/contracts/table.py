"""Declaration of a Delta table of the lake: layer, name, contract, key, origins, and how it is copied.

This module names no table; `orders_lakehouse/tables.py` lists those that exist.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from orders_lakehouse.contracts.base import Contract, polars_schema


@dataclass(frozen=True)
class Origin:
    """A column of a table upstream."""

    table: "Table"
    column: str


# Origins of columns that no column upstream is the source of: counts of rows, and verdicts on them.
MADE_HERE: tuple[Origin, ...] = ()


@dataclass(frozen=True)
class Table:
    """A Delta table.

    Attributes:
        layer: Layer and first folder of its path.
        name: Name within the layer.
        model: Its contract.
        key: Columns that identify a row (all versions of a row, in raw).
        partitioned_by: Date column that it is partitioned by, if any.
        extra: Columns that the contract does not have.
        upstream: Tables that it is derived from; a column that several of them have comes from the first.
        computed: Columns that are computed, or have another name upstream, with the columns that they are made of.
    """

    layer: str
    name: str
    model: type[Contract]
    key: tuple[str, ...]
    partitioned_by: str | None = None
    extra: tuple[tuple[str, pl.DataType | type[pl.DataType]], ...] = ()
    upstream: tuple["Table", ...] = field(default=(), compare=False, repr=False)
    computed: Mapping[str, tuple[Origin, ...]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def path(self) -> str:
        """Path under the lake's root; messages use it as the table's name."""
        return f"{self.layer}/{self.name}"

    @cached_property
    def schema(self) -> pl.Schema:
        """Column names and Polars types."""
        return pl.Schema({**polars_schema(self.model), **dict(self.extra)})

    @property
    def columns(self) -> list[str]:
        """Column names in the order of the schema."""
        return self.schema.names()


@dataclass(frozen=True)
class Copied:
    """How a table is copied to the warehouse.

    Attributes:
        without: Columns that dbt does not need.
        counted: Column of keys. A second table lists each key with its number of rows, so that dbt knows the keys
            without reading the copy.
        required: Columns that are never null, in addition to those of the contract.
    """

    without: frozenset[str] = frozenset()
    counted: str | None = None
    required: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Mix:
    """A column whose values should have the same shares on each date as on the days before.

    Attributes:
        column: The column.
        settled_after: Days until rows of a date no longer change; younger dates are not judged.
        why: Explanation in the check's description.
    """

    column: str
    settled_after: int = 0
    why: str = "The shop's running date is not judged."
