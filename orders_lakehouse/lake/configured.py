"""The lake that the settings name."""

from orders_lakehouse.lake.delta import Lake
from orders_lakehouse.settings import settings


def configured_lake() -> Lake:
    """The lake of the settings in force."""
    return Lake(settings().lake_url, settings().timezone)
