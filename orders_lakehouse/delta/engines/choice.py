"""Choose an engine by its name, or find that of given frames. No other module asks which engine it is."""

from typing import Literal

from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.delta.engines.base import Engine


def engine_named(name: Literal["polars", "spark"]) -> Engine:
    """Return the engine that the setting LAKEHOUSE_ENGINE names."""
    if name == "spark":
        from orders_lakehouse.delta.engines.spark import SPARK

        return SPARK
    from orders_lakehouse.delta.engines.polars import POLARS

    return POLARS


def engine_of(*frames: Frame) -> Engine:
    """Return the engine that computes the frames."""
    return engine_named("spark" if any(frame.implementation.is_spark_like() for frame in frames) else "polars")
