"""Columns of every raw table: row versions as the source has them, with minimal typing and without rules.

Numbers of the source's `numeric` columns stay text, because text holds every value that Postgres does (NaN, any
precision); the cleansed layer parses them. `captured_on` is the partition: the date of the row's change clock.
"""

import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract
from orders_lakehouse.contracts.types import Instant

# Hours that a change clock may run ahead of the source's now(). Beyond them it does not show when the row changed.
AHEAD_HOURS = 24
LINEAGE = ("captured_on", "captured_at", "run_id", "source", "change", "sequence", "namespace")

# Value of `change` for versions from the comparison with the source: tombstones, and rows whose clock went back.
BY_RECONCILIATION = "reconcile"

# Values of these columns for rows that were written before the columns existed.
BEFORE: dict[str, str | int] = {"change": "clock", "sequence": 0, "namespace": "shop"}

# Metadata of a column that holds a number as text: 1.5 and 1.50 are equal in the source.
NUMBER = {"number": True}


class Raw(Contract):
    """Columns that every raw table ends with."""

    updated_at: Instant = pa.Field(nullable=True, description="The source's change clock")
    deleted_at: Instant = pa.Field(nullable=True, description="When the source marked the row as deleted")
    captured_on: pl.Date = pa.Field(description="Date of updated_at; the capture date where the clock is out of range")
    captured_at: Instant = pa.Field(description="The source's now() when this version was read")
    run_id: pl.String = pa.Field(description="Run that read this version")
    source: pl.String = pa.Field(description="Where this version was read")
    change: pl.String = pa.Field(
        description="How this version was found: clock, snapshot, log, event, file or reconcile"
    )
    sequence: pl.Int64 = pa.Field(description="Order among versions with one clock that were captured at once")
    namespace: pl.String = pa.Field(
        description="Range within which a key stands for one row: the source, unless sources share it"
    )


def number_columns(model: type[Contract]) -> frozenset[str]:
    """Return the columns that hold numbers of the source as text."""
    columns = model.to_schema().columns.items()
    return frozenset(name for name, column in columns if (column.metadata or {}).get("number"))
