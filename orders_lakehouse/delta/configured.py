"""The lake that the settings name."""

from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.settings import settings


def configured_lake() -> Lake:
    """The lake of the settings in force, derived by the engine of the settings."""
    where = settings().lake_url, settings().timezone, settings().start_date
    if settings().engine == "polars":
        return Lake(*where)
    from orders_lakehouse.delta.engines.spark import ClusterLake

    return ClusterLake(*where)
