"""Pandera models, one file per layer, and the tables they describe. No Dagster, no input or output."""

# First: whoever imports it where there is no pandas never finds it again.
import polars as pl

from orders_lakehouse.runtime.blocked_imports import without

# Pandera imports what frames of others it could judge: some of it at once, some for the first check of a frame.
with without("pandas", "pyspark"):
    import pandera.polars as pa

    pa.DataFrameSchema({"a": pa.Column(pl.Int64, pa.Check.ge(0))}).validate(pl.DataFrame({"a": [0]}))
