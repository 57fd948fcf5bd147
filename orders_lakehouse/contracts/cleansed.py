"""Columns of every cleansed table: current rows by business date (all versions for dimensions), typed, trimmed, judged.

A tombstone (`is_deleted`) stands for a deleted row and is not judged; it keeps the row accounting balanced. A rule
rejects the row by default. With the outcomes `blank` and `warn` the row stays, because one invalid attribute should not
cost the others.
"""

from typing import ClassVar

import narwhals as nw
import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract, rule
from orders_lakehouse.contracts.column_rules import without_bad_bytes
from orders_lakehouse.contracts.raw import AHEAD_HOURS
from orders_lakehouse.contracts.types import Instant

# Columns that record how a row was judged, and columns that record its capture.
JUDGED = frozenset({"versions", "candidates", "warnings"})
CAPTURED = frozenset({"captured_on", "captured_at"})


class Cleansed(Contract):
    """Columns that every cleansed table ends with, and the rule for the change clock."""

    is_deleted: pl.Boolean = pa.Field(description="Whether this row is a tombstone")
    versions: pl.Int64 = pa.Field(ge=1, description="Versions of this row in raw, this one included")
    candidates: pl.Int64 = pa.Field(
        le=1,
        description="Different rows that the source offered for this key at once, with one clock; 1",
        metadata={"reason": "key_not_unique", "demand": "1: the source offers the key once"},
    )
    warnings: pl.String = pa.Field(
        nullable=True, description="Rules that the row breaks without being rejected, with commas between them"
    )
    updated_at: Instant = pa.Field(description="The source's change clock")
    captured_on: pl.Date = pa.Field(description="Capture date of the version")
    captured_at: Instant = pa.Field(description="The source's now() when the version was read")

    @rule
    def updated_at_in_future(cls) -> nw.Expr:
        """The change clock is at most one day ahead of the capture."""
        return nw.col("updated_at") <= nw.col("captured_at").dt.offset_by(f"{AHEAD_HOURS}h")

    @rule
    def text_not_utf8(cls) -> nw.Expr:
        """Every text of the row was valid UTF-8 in the shop."""
        return without_bad_bytes(cls)

    class Config(Contract.Config):
        """Since version 2, a row with text that was no UTF-8 is rejected."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}
