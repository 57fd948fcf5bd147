"""The lake that the settings name; the one place where settings choose an engine."""

from orders_lakehouse.delta.engines.choice import engine_named
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.settings import settings


def configured_lake() -> Lake:
    """Return the lake of the settings in force, derived by the engine of the settings."""
    found = settings()
    return Lake(found.lake_url, found.timezone, found.start_date, engine_named(found.engine))
