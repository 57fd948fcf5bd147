"""Import Pandera without pandas and PySpark, which it would import if they are installed."""

from functools import cache

from orders_lakehouse.runtime.blocked_imports import without


@cache
def import_pandera() -> None:
    """Import Pandera once, with all modules that it imports for its first check of a frame.

    Some of its modules search for pandas at import, others at the first check, so a frame is checked here.
    """
    # Polars is imported first, because it remembers for good whether it has found pandas.
    import polars as pl

    with without("pandas", "pyspark"):
        import pandera.polars as pa

        pa.DataFrameSchema({"a": pa.Column(pl.Int64, pa.Check.ge(0))}).validate(pl.DataFrame({"a": [0]}))
