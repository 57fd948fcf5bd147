"""Pandera made to do without pandas and PySpark, which it would import wherever they are installed."""

from functools import cache

from orders_lakehouse.runtime.blocked_imports import without


@cache
def import_pandera() -> None:
    """Import Pandera, and all that it imports for its first check of a frame, once.

    Some of it looks for pandas at once, some for the first check, so a frame is checked here.
    """
    # First: whoever imports it where there is no pandas never finds it again.
    import polars as pl

    with without("pandas", "pyspark"):
        import pandera.polars as pa

        pa.DataFrameSchema({"a": pa.Column(pl.Int64, pa.Check.ge(0))}).validate(pl.DataFrame({"a": [0]}))
