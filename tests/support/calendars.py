"""Calendars from the zone data of this machine, and from other zone data."""

from datetime import date, timedelta
from functools import cache

import polars as pl

from orders_lakehouse.calendar import FIRST, LAST, Calendar, installed_midnights

START = date(1901, 1, 1)
# Clocks of these zones change at midnight, a minute later, by a whole day, by half an hour, or never.
ZONES = (
    "America/Vancouver",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Toronto",
    "Africa/Cairo",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Etc/GMT+5",
    "Europe/Berlin",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Pacific/Kwajalein",
    "UTC",
)


@cache
def calendar_in(timezone: str, start: date = START) -> Calendar:
    """Return the calendar of a zone from the zone data of this machine."""
    return Calendar(start, timezone, installed_midnights(timezone))


def moved(calendar: Calendar, first: date, last: date, by: timedelta) -> Calendar:
    """Return a calendar from other zone data: the dates from `first` to `last` begin later."""
    days = pl.date_range(FIRST, LAST, eager=True)
    midnights = pl.select(
        pl.when(days.is_between(first, last))
        .then(calendar.midnights.dt.offset_by(f"{int(by.total_seconds())}s"))
        # A midnight is never before the one of the day before.
        .otherwise(calendar.midnights)
    ).to_series()
    return Calendar(calendar.start, calendar.timezone, midnights.cum_max())
