"""Pandera models, one file per layer, and the tables they describe. No Dagster, no input or output."""

from orders_lakehouse.imports import without

# Pandera imports whatever frames it could judge, and ours are of Polars.
with without("pandas", "pyspark"):
    import pandera.polars  # noqa: F401
