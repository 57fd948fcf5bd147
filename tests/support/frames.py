"""Lazy frames of the engines that transformations run on."""

import importlib.util
from collections.abc import Callable

import narwhals as nw
import polars as pl

Lazily = Callable[[pl.DataFrame], nw.LazyFrame]


def on_polars(frame: pl.DataFrame) -> nw.LazyFrame:
    """Return a lazy frame of Polars, which is always installed."""
    return nw.from_native(frame.lazy())


def on_duckdb() -> Lazily:
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return lambda frame: nw.from_native(connection.from_arrow(frame.to_arrow()))


# DuckDB is a second engine if it is installed: then no result is an accident of Polars.
ENGINES = ["polars", *(["duckdb"] if importlib.util.find_spec("duckdb") else [])]


def collected(frame: nw.LazyFrame) -> pl.DataFrame:
    """Return the rows of a lazy frame of any engine."""
    result: pl.DataFrame = frame.collect("polars").to_native()
    return result
