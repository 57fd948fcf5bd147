"""Midnights, and the dates of instants by them."""

import zoneinfo
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orders_lakehouse import calendar as calendars
from orders_lakehouse.calendar import FIRST, INSTANT, LAST, Calendar, installed_zone_data
from tests.support.calendars import START, ZONES, calendar_in, moved
from tests.support.rows import at, on

_MICROSECOND = timedelta(microseconds=1)
_ZONES = st.sampled_from(ZONES)
_DAYS = st.dates(FIRST, LAST)
_INSTANTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(lambda naive: naive.replace(tzinfo=UTC))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("timezone", "day", "begins_at"),
    [
        ("UTC", "2020-03-01", "2020-03-01 00:00"),
        ("Europe/Berlin", "2020-03-29", "2020-03-28 23:00"),
        ("Europe/Berlin", "2020-03-30", "2020-03-29 22:00"),
        # West of Greenwich, whatever the sign in the name says.
        ("Etc/GMT+5", "2020-03-01", "2020-03-01 05:00"),
        # The clock goes from 0:00 to 1:00, and from 23:30 to 0:30.
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04 03:00"),
        ("America/Toronto", "1919-03-31", "1919-03-31 04:30"),
        ("Asia/Beirut", "2020-03-29", "2020-03-28 22:00"),
        ("Africa/Cairo", "2023-04-28", "2023-04-27 22:00"),
        # It goes from 0:01 back to 23:01: midnight comes twice.
        ("America/St_Johns", "2006-10-29", "2006-10-29 02:30"),
        ("America/St_Johns", "2006-10-30", "2006-10-30 03:30"),
        # A day that was left out.
        ("Pacific/Apia", "2011-12-30", "2011-12-30 10:00"),
        ("Pacific/Apia", "2011-12-31", "2011-12-30 10:00"),
        # Outside of the calendar.
        ("Europe/Berlin", "1899-12-31", "1899-12-31 00:00"),
        ("Europe/Berlin", "2101-01-01", "2101-01-01 00:00"),
    ],
)
def test_date_begins_at_first_midnight_or_where_clock_skips_it(timezone: str, day: str, begins_at: str) -> None:
    assert calendar_in(timezone).begins_at(on(day)) == at(begins_at)


@pytest.mark.parametrize("timezone", ZONES)
def test_midnights_of_a_zone_never_fall(timezone: str) -> None:
    midnights = calendar_in(timezone).midnights
    assert midnights.dtype == INSTANT
    assert len(midnights) == (LAST - FIRST).days + 1
    assert midnights.is_sorted()
    assert midnights.null_count() == 0


@given(_ZONES, _DAYS)
@example("Pacific/Apia", date(2011, 12, 31))
@example("Pacific/Kwajalein", date(1993, 8, 21))
@example("America/St_Johns", date(2006, 10, 29))
@settings(max_examples=100)
def test_clock_on_the_wall_shows_a_date_from_its_midnight_on(timezone: str, day: date) -> None:
    zone, begin = ZoneInfo(timezone), calendar_in(timezone).begins_at(day)
    assert begin.astimezone(zone).date() >= day
    assert (begin - _MICROSECOND).astimezone(zone).date() < day


@given(_ZONES, st.lists(_INSTANTS, min_size=1, max_size=10), st.integers(-50_400, 50_400), _DAYS)
@example("Europe/Berlin", [datetime.min.replace(tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)], 0, FIRST)
@example("Pacific/Apia", [at("2011-12-30 09:59:59.999999"), at("2011-12-30 10:00")], 0, FIRST)
@settings(max_examples=100)
def test_instant_has_the_date_that_has_begun_last(
    timezone: str, instants: list[datetime], seconds: int, first: date
) -> None:
    # By other zone data, too.
    calendar = moved(calendar_in(timezone), first, first + timedelta(days=200), timedelta(seconds=seconds))
    dates = calendar.dates_of(pl.Series("x", [*instants, None], dtype=INSTANT))
    assert (dates.name, dates.dtype, dates[-1]) == ("x", pl.Date, None)
    for instant, found in zip(instants, dates, strict=False):
        assert calendar.date_of(instant) == found
        if not calendar.begins_at(FIRST) <= instant < calendar.begins_at(LAST):
            assert found == instant.date()
        else:
            assert calendar.begins_at(found) <= instant < calendar.begins_at(found + timedelta(days=1))


@given(_ZONES, st.datetimes(datetime(1970, 1, 2), datetime(2037, 12, 30)))  # noqa: DTZ001
@settings(max_examples=100)
def test_date_is_that_of_the_wall_clock_except_repeated_hours(timezone: str, naive: datetime) -> None:
    instant = naive.replace(tzinfo=UTC)
    local, found = instant.astimezone(ZoneInfo(timezone)), calendar_in(timezone).date_of(instant)
    # Only St John's has put its clock back past midnight.
    assert found == local.date() or (timezone == "America/St_Johns" and (local.hour, local.fold) == (23, 1))


def test_dates_of_a_calendar_in_utc_are_those_of_utc() -> None:
    for calendar in (Calendar(START, "UTC"), calendar_in("Etc/UTC")):
        assert calendar.is_utc
        assert calendar.date_of(at("2020-03-01 23:59:59.999999")) == on("2020-03-01")
        assert calendar.begins_at(on("2020-03-01")) == at("2020-03-01 00:00")


def test_another_zone_than_utc_needs_its_midnights() -> None:
    with pytest.raises(ValueError, match="found no midnights of Europe/Berlin; expected those of the lake"):
        Calendar(START, "Europe/Berlin")


def test_midnights_between_dates_are_those_of_the_calendar() -> None:
    calendar = calendar_in("Europe/Berlin")
    assert calendar.midnights_between(on("2020-03-28"), on("2020-03-30")) == [
        at("2020-03-27 23:00"),
        at("2020-03-28 23:00"),
        at("2020-03-29 22:00"),
    ]
    assert calendar.midnights_between(on("2020-03-28"), on("2020-03-27")) == []
    assert calendar.midnights_between(on("2020-03-28"), on("2020-03-20")) == []
    assert len(calendar.midnights_between(date.min, date.max)) == len(calendar.midnights)


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ({"tzdata.zi": "# version 2031a\n# ...\n"}, "2031a"),
        ({"+VERSION": "2031b\n"}, "2031b"),
        ({}, "unknown"),
    ],
)
def test_zone_data_version_is_read_where_the_zone_is_found(
    files: dict[str, str], version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Berlin").touch()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(calendars, "TZPATH", (str(tmp_path / "nothing"), str(tmp_path)))
    assert installed_zone_data("Europe/Berlin") == version


def test_zone_data_version_is_of_the_package_as_fallback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import tzdata

    monkeypatch.setattr(calendars, "TZPATH", ())
    assert zoneinfo.TZPATH != ()
    assert installed_zone_data("Europe/Berlin") == tzdata.IANA_VERSION
