"""The lake of the settings. Only this module lets settings choose an engine."""

from orders_lakehouse.delta.engines.choice import engine_named
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.settings import settings


def configured_lake() -> Lake:
    """Return the lake of the current settings, with the engine that they name."""
    current = settings()
    return Lake(current.lake_url, current.timezone, current.start_date, engine_named(current.engine))
