"""Calendars for tests: of the zone data of this machine, and of other zone data."""

from datetime import date, timedelta
from functools import cache

import polars as pl

from orders_lakehouse.calendar import FIRST, LAST, Calendar, installed_midnights

START = date(1901, 1, 1)
# Zones whose clocks are moved at midnight, in the minute after it, past a whole day, by half an hour, or not at all.
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
    """The calendar of a zone by the zone data of this machine."""
    return Calendar(start, timezone, installed_midnights(timezone))


def moved(calendar: Calendar, first: date, last: date, by: timedelta) -> Calendar:
    """A calendar of other zone data, in which the dates from `first` to `last` begin later than in another one."""
    days = pl.date_range(FIRST, LAST, eager=True)
    midnights = pl.select(
        pl.when(days.is_between(first, last))
        .then(calendar.midnights.dt.offset_by(f"{int(by.total_seconds())}s"))
        # A midnight is never before the one of the day before.
        .otherwise(calendar.midnights)
    ).to_series()
    return Calendar(calendar.start, calendar.timezone, midnights.cum_max())
