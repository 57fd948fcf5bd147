"""Personal values, and what is shown in their place."""

from collections.abc import Set

import polars as pl

MASK = "•••"


def masked(rows: pl.DataFrame, personal: Set[str]) -> pl.DataFrame:
    """The rows with a mask in place of every personal value; what is missing stays missing."""
    names = [name for name in rows.columns if name in personal]
    return rows.with_columns(pl.when(pl.col(name).is_not_null()).then(pl.lit(MASK)).alias(name) for name in names)
