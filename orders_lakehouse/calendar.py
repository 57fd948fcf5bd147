"""Convert instants to dates by the midnights of a calendar, which is stored in the lake.

No function here reads the lake. A calendar is made once from the time zone data of a machine (`installed_midnights`);
afterwards only the stored midnights decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache
from importlib import import_module
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo

import polars as pl

# First and last local date of a calendar. An instant outside of them gets its date in UTC.
FIRST, LAST = date(1900, 1, 1), date(2100, 12, 31)
INSTANT = pl.Datetime("us", "UTC")
# Range before and after the expected instant in which a skipped local midnight is searched.
_AROUND = timedelta(days=2)


@lru_cache(maxsize=1)
def utc_midnights() -> pl.Series:
    """Return the midnights of UTC from `FIRST` to `LAST`."""
    return pl.date_range(FIRST, LAST, eager=True).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


@dataclass(frozen=True, eq=False)
class Calendar:
    """The first partition, and the first instant of each local date.

    A date lasts from its midnight to the next one. So an hour that local clocks show twice belongs to one date.

    Attributes:
        start: First partition; earlier changes are captured on it.
        timezone: IANA name.
        given: First instants of the dates from `FIRST` to `LAST`, in order; not needed for UTC.

    Raises:
        ValueError: The zone is not UTC, and the midnights are missing.
    """

    start: date
    timezone: str
    given: pl.Series | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.given is None and self.timezone != "UTC":
            raise ValueError(f"found no midnights of {self.timezone}; expected those of the lake: `calendar_of(lake)`")

    @property
    def midnights(self) -> pl.Series:
        """Return the first instants of the dates from `FIRST` to `LAST`, in order."""
        return utc_midnights() if self.given is None else self.given

    @cached_property
    def is_utc(self) -> bool:
        """Return whether every date is the date in UTC."""
        return self.midnights.equals(utc_midnights())

    def begins_at(self, day: date) -> datetime:
        """Return the first instant of a date, in UTC; a skipped date begins as the next one."""
        if not FIRST <= day <= LAST:
            return datetime.combine(day, time(), UTC)
        begin: datetime = self.midnights[(day - FIRST).days]
        return begin

    def midnights_between(self, first: date, last: date) -> Sequence[datetime]:
        """Return the first instants of the dates from `first` to `last`, within the calendar."""
        begin, end = max(first, FIRST), min(last, LAST)
        return self.midnights.slice((begin - FIRST).days, max((end - begin).days + 1, 0)).to_list()

    def date_of(self, instant: datetime) -> date:
        """Return the date of an instant."""
        day: date = self.dates_of(pl.Series([instant], dtype=INSTANT)).item()
        return day

    def dates_of(self, instants: pl.Series) -> pl.Series:
        """Return the dates of instants; nulls stay null."""
        instants = instants.cast(INSTANT)
        if self.is_utc:
            return instants.dt.date()
        # Number of dates that have begun; with none or all of them, the instant is outside of the calendar.
        begun = self.midnights.search_sorted(instants, side="right").cast(pl.Int32)
        days_before = (FIRST - date(1970, 1, 1)).days - 1
        local = pl.when(begun.is_between(1, len(self.midnights) - 1)).then((begun + days_before).cast(pl.Date))
        return pl.select(local.otherwise(instants.dt.date()).alias(instants.name)).to_series()

    @cached_property
    def cuts(self) -> pl.DataFrame:
        """Return the local dates within each date in UTC, for engines that join.

        Returns:
            One row for each date in UTC: utc_date, local_date_0 (local date at its start), cut_1 and local_date_1
            (start of the next local date, and that date), and further pairs as any date in UTC needs them.
        """
        days = pl.date_range(*self.midnights.dt.date().gather([0, -1]), eager=True)
        starts = days.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        following = self.midnights.search_sorted(starts, side="right")
        columns = {"utc_date": days, "local_date_0": self.dates_of(starts)}
        most = following.diff().max()
        assert isinstance(most, int)  # noqa: S101 (a calendar has many dates)
        for number in range(1, most + 1):
            cut = pl.select(pl.lit(self.midnights).gather(following + (number - 1), null_on_oob=True)).to_series()
            columns |= {f"cut_{number}": cut, f"local_date_{number}": self.dates_of(cut)}
        return pl.DataFrame(columns)


@lru_cache(maxsize=8)
def installed_midnights(timezone: str) -> pl.Series:
    """Return the first instant of each date from `FIRST` to `LAST` in a zone, by the time zone data of this machine.

    If local clocks skip midnight, the date begins when they skip it; if they show it twice, at the first time.

    Args:
        timezone: IANA name.
    """
    if timezone == "UTC":
        return utc_midnights()
    zone = ZoneInfo(timezone)
    dates = map(date.fromordinal, range(FIRST.toordinal(), LAST.toordinal() + 1))
    return (
        pl.Series("begins_at", [_midnight(day, zone) for day in dates])
        .cast(pl.Datetime("us"))
        .dt.replace_time_zone("UTC")
    )


def installed_zone_data(timezone: str) -> str:
    """Return the version of this machine's data for a zone, such as 2025b; `unknown` if the data has none."""
    for root in TZPATH:
        if Path(root, timezone).is_file():
            return _version_in(Path(root))
    version: str = import_module("tzdata").IANA_VERSION
    return version


def _version_in(root: Path) -> str:
    # Linux has the first file, macOS the second.
    for name, prefix in (("tzdata.zi", "# version "), ("+VERSION", "")):
        if (root / name).is_file():
            with (root / name).open(encoding="utf-8") as file:
                return file.readline().strip().removeprefix(prefix)
    return "unknown"


def _midnight(day: date, zone: ZoneInfo) -> int:
    """Return the first instant of a date in microseconds since 1970."""
    local = datetime.combine(day, time(), zone)
    instant = local.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None):
        instant = _clock_passes(day, instant, zone)
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _clock_passes(day: date, near: datetime, zone: ZoneInfo) -> datetime:
    """Return the first second, near an instant, at which local clocks show a date or a later one."""
    before, after = near - _AROUND, near + _AROUND
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // timedelta(seconds=2) * timedelta(seconds=1)
        if middle.astimezone(zone).date() < day:
            before = middle
        else:
            after = middle
    return after
