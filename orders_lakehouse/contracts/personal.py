"""Mask personal values."""

from collections.abc import Set

import polars as pl

MASK = "•••"


def masked(rows: pl.DataFrame, personal: Set[str]) -> pl.DataFrame:
    """Return the rows with a mask in place of every personal value; nulls stay null."""
    names = [name for name in rows.columns if name in personal]
    return rows.with_columns(pl.when(pl.col(name).is_not_null()).then(pl.lit(MASK)).alias(name) for name in names)
