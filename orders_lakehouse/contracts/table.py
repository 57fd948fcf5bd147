"""What a Delta table of the lake is: its layer, name, contract and key, what it is made of, how it is copied.

No table is named here; those that exist are listed in `orders_lakehouse/tables.py`.
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


# The origin of counts of rows and of verdicts on them: no column.
MADE_HERE: tuple[Origin, ...] = ()


@dataclass(frozen=True)
class Table:
    """A Delta table.

    Attributes:
        layer: Layer and first folder of its path.
        name: Name within the layer.
        model: Its contract.
        key: Columns that identify a row (a row's history, in raw).
        partitioned_by: Date column that it is partitioned by, if any.
        extra: Columns beside the contract's.
        upstream: Tables that it is derived from. Of several that have a column of a name, it comes from the first.
        computed: Columns that are computed, or have another name upstream: the columns that each is made of.
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
        """Where the table lies under the lake's root; also its name in messages."""
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
        counted: Column of keys that are listed, each with the number of its rows, in a table beside the copy: which
            keys there are is known then without a look at every row.
        required: Columns that are never null, beside those of which the contract says so.
    """

    without: frozenset[str] = frozenset()
    counted: str | None = None
    required: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Mix:
    """A column whose values have the same shares on each date as on the days before.

    Attributes:
        column: The column.
        settled_after: Days until rows of a date no longer change; younger dates are not judged.
        why: What people are told of it.
    """

    column: str
    settled_after: int = 0
    why: str = "The shop's running date is not judged."
