"""How instants become partitions."""

from dataclasses import dataclass
from datetime import date

from orders_lakehouse.settings import settings


@dataclass(frozen=True)
class Calendar:
    """First partition, and the time zone in which dates are cut.

    Attributes:
        start: First partition; what changed before it is captured on it.
        timezone: IANA name.
    """

    start: date
    timezone: str


def configured_calendar() -> Calendar:
    """The calendar of the settings in force."""
    return Calendar(settings().start_date, settings().timezone)
