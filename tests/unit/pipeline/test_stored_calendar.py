"""The calendar of a lake: who writes it, what it keeps, and what applying newer data changes."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
import pytest

from orders_lakehouse.calendar import FIRST, LAST, Calendar, installed_zone_data
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.customers import CUSTOMERS, RAW_CUSTOMERS
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.pipeline import row_accounting
from orders_lakehouse.pipeline.capture import capture
from orders_lakehouse.pipeline.derive import derive
from orders_lakehouse.pipeline.stored_calendar import (
    CalendarChangedError,
    HolidaysError,
    apply_installed,
    calendar_of,
    compare,
    country_of,
    dates_to_run,
    days_with_holidays,
    installed,
    require_same,
    stored,
)
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import CALENDAR, KEY_DATES
from tests.support.calendars import calendar_in, moved
from tests.support.rows import at, on, rows

ZONE = "America/Vancouver"


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_settings: None) -> Lake:  # noqa: ARG001
    monkeypatch.setenv("LAKEHOUSE_TIMEZONE", ZONE)
    return Lake(str(tmp_path / "lake"), ZONE)


def keep(lake: Lake, calendar: Calendar, **columns: Any) -> None:
    """Have a lake keep the midnights of a calendar."""
    days = installed(lake.timezone, "US", ()).with_columns(begins_at=calendar.midnights, **columns)
    lake.replace_all(CALENDAR, lambda _: nw.from_native(days.lazy()))


def daylight_for_ever() -> Calendar:
    """Other zone data: the clocks of Vancouver are not put back any more in the winter of 2026."""
    return moved(calendar_in(ZONE), on("2026-11-02"), on("2027-03-14"), timedelta(hours=-1))


def test_lake_gets_the_midnights_of_the_first_writer(lake: Lake) -> None:
    assert find(lake, CALENDAR) is None
    calendar = calendar_of(lake)
    assert calendar.midnights.equals(calendar_in(ZONE).midnights)
    assert (calendar.start, calendar.timezone) == (settings().start_date, ZONE)
    kept = stored(lake)
    assert kept.schema == CALENDAR.schema
    assert (kept["date"][0], kept["date"][-1], kept.height) == (FIRST, LAST, (LAST - FIRST).days + 1)
    assert kept["zone_data"].unique().to_list() == [installed_zone_data(ZONE)]
    assert kept["is_holiday"].null_count() == kept.height


def test_calendar_is_written_once(lake: Lake) -> None:
    calendars = [calendar_of(Lake(lake.url, ZONE)) for _ in range(2)]
    assert calendars[0] is calendars[1]
    assert lake.open(CALENDAR).version() == 1


def test_one_of_concurrent_callers_writes_the_calendar(lake: Lake) -> None:
    with ThreadPoolExecutor(4) as threads:
        heights = list(threads.map(lambda _: stored(lake).height, range(4)))
    assert set(heights) == {(LAST - FIRST).days + 1}
    assert stored(lake)["date"].is_unique().all()


def test_stored_calendar_decides_over_machine_data(lake: Lake) -> None:
    keep(lake, daylight_for_ever())
    assert calendar_of(lake).date_of(at("2026-11-21 07:30")) == on("2026-11-21")
    assert calendar_in(ZONE).date_of(at("2026-11-21 07:30")) == on("2026-11-20")


def test_rows_captured_during_a_calendar_change_are_recaptured(lake: Lake) -> None:
    keep(lake, daylight_for_ever())
    calendar = calendar_of(lake)
    # Holidays move no date.
    days_with_holidays(lake, on("2017-01-01"), on("2017-01-01"))
    require_same(lake, calendar)
    keep(lake, calendar_in(ZONE))
    with pytest.raises(CalendarChangedError, match="raw/calendar was replaced while rows were captured"):
        require_same(lake, calendar)


def test_lake_that_stands_still_keeps_its_calendar(lake: Lake) -> None:
    keep(lake, daylight_for_ever())
    still = lake.snapshot()
    before = calendar_of(still)
    keep(lake, calendar_in(ZONE))
    assert calendar_of(still) is before
    assert calendar_of(lake).midnights.equals(calendar_in(ZONE).midnights)
    assert still.versions == {CALENDAR.path: 1}


def test_frozen_lake_of_before_reads_the_calendar_written_since(lake: Lake) -> None:
    still = lake.snapshot()
    still.open(CALENDAR)
    assert calendar_of(still).midnights.equals(calendar_of(lake).midnights)


def test_lake_in_utc_needs_no_midnights(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"), "UTC")
    assert calendar_of(lake).is_utc
    assert find(lake, CALENDAR) is None


@pytest.mark.parametrize(
    "change",
    [
        pl.col("date") != FIRST,
        pl.col("date") != on("2020-01-01"),
        pl.col("date") < on("2000-01-01"),
    ],
)
def test_calendar_that_is_not_whole_is_refused(lake: Lake, change: pl.Expr) -> None:
    days = stored(lake).filter(change)
    lake.replace_all(CALENDAR, lambda _: nw.from_native(days.lazy()))
    with pytest.raises(LakeError, match=f"raw/calendar is not whole: found {days.height} rows, expected one for each"):
        calendar_of(lake)


def test_midnights_that_fall_are_refused(lake: Lake) -> None:
    keep(lake, calendar_in(ZONE))
    late = pl.when(pl.col("date") == on("2020-01-01")).then(at("2020-01-05 00:00")).otherwise("begins_at")
    days = stored(lake).with_columns(begins_at=late)
    lake.replace_all(CALENDAR, lambda _: nw.from_native(days.lazy()))
    with pytest.raises(LakeError, match="with rising instants"):
        calendar_of(lake)


class TestHolidays:
    def test_every_day_is_there_once_and_in_order(self, lake: Lake) -> None:
        days = days_with_holidays(lake, on("2019-12-30"), on("2020-03-01"))
        assert days["date"].to_list() == [on("2019-12-30") + timedelta(days=more) for more in range(63)]
        assert days.columns == ["date", "is_holiday", "holiday_name", "holidays_country"]
        assert days["is_holiday"].null_count() == 0

    @pytest.mark.parametrize(
        ("country", "day", "name"),
        [
            ("US", "2017-07-04", "Independence Day"),
            ("US", "2018-01-01", "New Year's Day"),
            ("GB", "2017-12-26", "Boxing Day"),
            ("GB", "2017-07-04", None),
            ("US", "2017-07-05", None),
        ],
    )
    def test_holiday_has_its_name(
        self, lake: Lake, monkeypatch: pytest.MonkeyPatch, country: str, day: str, name: str | None
    ) -> None:
        monkeypatch.setenv("LAKEHOUSE_HOLIDAYS_COUNTRY", country)
        assert days_with_holidays(lake, on(day), on(day)).rows() == [(on(day), name is not None, name, country)]
        assert country_of(lake) == country

    def test_country_without_holidays_is_refused_with_known_ones(
        self, lake: Lake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("LAKEHOUSE_HOLIDAYS_COUNTRY", "XX")
        with pytest.raises(HolidaysError, match=r"(?s)LAKEHOUSE_HOLIDAYS_COUNTRY='XX'.*DE, "):
            days_with_holidays(lake, date(2017, 1, 1), date(2017, 1, 2))

    def test_new_year_is_added_and_changes_no_other(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        days_with_holidays(lake, on("2017-01-01"), on("2018-12-31"))
        told = pl.when(pl.col("date") == on("2017-07-04")).then(pl.lit("As it was")).otherwise("holiday_name")
        before = stored(lake).with_columns(holiday_name=told)
        lake.replace_all(CALENDAR, lambda _: nw.from_native(before.lazy()))
        version = lake.open(CALENDAR).version()
        days_with_holidays(lake, on("2017-01-01"), on("2018-12-31"))
        assert lake.open(CALENDAR).version() == version
        # Another country in the settings decides nothing any more.
        monkeypatch.setenv("LAKEHOUSE_HOLIDAYS_COUNTRY", "GB")
        settings.cache_clear()
        days = days_with_holidays(lake, on("2017-01-01"), on("2019-12-31"))
        assert dict(days.filter("is_holiday").select("date", "holiday_name").iter_rows()).items() >= {
            (on("2017-07-04"), "As it was"),
            (on("2019-07-04"), "Independence Day"),
        }
        assert country_of(lake) == "US"
        known = pl.col("is_holiday").is_not_null() & (pl.col("date") < on("2019-01-01"))
        assert stored(lake).filter(known).equals(before.filter(known))
        assert stored(lake)["begins_at"].equals(before["begins_at"])

    def test_lake_in_utc_has_holidays(self, tmp_path: Path) -> None:
        lake = Lake(str(tmp_path / "lake"), "UTC")
        assert days_with_holidays(lake, on("2017-07-04"), on("2017-07-04")).rows() == [
            (on("2017-07-04"), True, "Independence Day", "US")
        ]
        assert stored(lake)["begins_at"].equals(Calendar(FIRST, "UTC").midnights)


def captured(table: Table, lake: Lake, on_date: str, *given: Mapping[str, Any]) -> None:
    """Have raw hold rows that were captured on a date."""
    lineage = {"captured_on": on(on_date), "captured_at": at(f"{on_date} 20:00"), "updated_at": at(f"{on_date} 19:00")}
    capture(lake, table, rows(table, *({**row, **lineage} for row in given)), calendar_of(lake))


def derived(lake: Lake) -> None:
    """Derive all dates of orders and customers."""
    for table in (ORDERS, CUSTOMERS):
        derive(lake, table, (on("2026-10-01"), on("2027-03-31")))


class TestApply:
    @pytest.fixture
    def placed(self, lake: Lake) -> dict[str, datetime]:
        """Orders of a lake by whose zone data clocks are not put back in the winter of 2026."""
        keep(lake, daylight_for_ever(), zone_data=pl.lit("2026x"))
        placed = {
            "before": at("2026-10-20 07:30"),
            "moves": at("2026-11-21 07:30"),
            "stays": at("2026-11-21 08:00"),
            "moves in quarantine": at("2027-01-01 07:59"),
        }
        rejected = {"currency": "?"}
        orders = [
            {"order_id": key, "ordered_at": when, **(rejected if "quarantine" in key else {})}
            for key, when in placed.items()
        ]
        captured(RAW_ORDERS, lake, "2027-02-01", *orders)
        evening = {"registered_at": at("2026-12-01 07:10")}
        captured(RAW_CUSTOMERS, lake, "2027-02-02", {"registered_at": at("2026-12-01 12:00")})
        captured(RAW_CUSTOMERS, lake, "2027-02-03", {"customer_id": "c3", **evening})
        # Born after the registration in any case, and by one of the calendars alone.
        captured(RAW_CUSTOMERS, lake, "2027-02-04", {"customer_id": "c4", "date_of_birth": on("2026-12-04"), **evening})
        captured(RAW_CUSTOMERS, lake, "2027-02-05", {"customer_id": "c5", "date_of_birth": on("2026-11-30"), **evening})
        derived(lake)
        return placed

    def test_dates_of_moving_rows_are_named_until_derived(self, lake: Lake, placed: dict[str, datetime]) -> None:
        assert dates_to_run(lake) == []
        changes = apply_installed(lake)
        assert changes.midnights["date"].to_list() == [on("2026-11-02") + timedelta(days=more) for more in range(133)]
        assert changes.midnights.row(0) == (on("2026-11-02"), at("2026-11-02 07:00"), at("2026-11-02 08:00"))
        assert changes.holidays.is_empty()
        for _ in range(2):
            assert [str(day) for day in dates_to_run(lake)] == [
                *("2026-11-20", "2026-11-21", "2026-12-31", "2027-01-01"),
                *("2027-02-03", "2027-02-04", "2027-02-05"),
            ]
        calendar = calendar_of(lake)
        assert calendar.midnights.equals(calendar_in(ZONE).midnights)
        entries = rows_of(lake.scan(KEY_DATES)).filter(table_name="orders")
        for key, when in placed.items():
            assert calendar.date_of(when) in set(entries.filter(order_id=key)["order_date"])
        derived(lake)
        assert dates_to_run(lake) == []
        stands_on = dict(rows_of(lake.scan(ORDERS).select("order_id", "order_date")).iter_rows())
        assert stands_on == {key: calendar.date_of(when) for key, when in placed.items() if "quarantine" not in key}

    @pytest.mark.parametrize("begins_early", [True, False])
    def test_order_that_enters_or_leaves_the_partitions_is_named(
        self, lake: Lake, monkeypatch: pytest.MonkeyPatch, begins_early: bool
    ) -> None:
        monkeypatch.setenv("LAKEHOUSE_START_DATE", "2026-11-21")
        settings.cache_clear()
        before, after = daylight_for_ever(), calendar_in(ZONE)
        keep(lake, before if begins_early else after)
        captured(RAW_ORDERS, lake, "2026-11-21", {"ordered_at": at("2026-11-21 07:30")})
        derived(lake)
        assert row_accounting.row_count(lake, ORDERS) == begins_early
        keep(lake, after if begins_early else before)
        assert dates_to_run(lake) == [on("2026-11-21")]
        derived(lake)
        assert row_accounting.row_count(lake, ORDERS) == (not begins_early)
        assert dates_to_run(lake) == []

    def test_applying_installed_data_changes_nothing(self, lake: Lake, placed: dict[str, datetime]) -> None:
        apply_installed(lake)
        entries = rows_of(lake.scan(KEY_DATES))
        changes = apply_installed(lake)
        assert (changes.midnights.height, changes.holidays.height) == (0, 0)
        assert rows_of(lake.scan(KEY_DATES)).equals(entries)
        assert entries.height == 2 * len(placed) - 2

    def test_interrupted_apply_is_finished_by_the_next(self, lake: Lake, placed: dict[str, datetime]) -> None:
        before = dates_to_run(lake)
        keep(lake, calendar_in(ZONE))
        apply_installed(lake)
        entries = rows_of(lake.scan(KEY_DATES)).filter(order_id="moves")
        assert calendar_in(ZONE).date_of(placed["moves"]) in set(entries["order_date"])
        assert dates_to_run(lake) != before

    def test_configured_country_is_applied_to_existing_years(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        days_with_holidays(lake, on("2017-01-01"), on("2017-12-31"))
        monkeypatch.setenv("LAKEHOUSE_HOLIDAYS_COUNTRY", "CA")
        settings.cache_clear()
        changes = apply_installed(lake)
        assert dates_to_run(lake) == []
        assert changes.midnights.is_empty()
        assert (on("2017-07-04"), "Independence Day", None) in changes.holidays.rows()
        assert set(changes.holidays["date"].dt.year()) == {2017}
        assert country_of(lake) == "CA"
        assert stored(lake)["is_holiday"].null_count() == stored(lake).height - 365

    def test_calendar_differs_from_itself_in_nothing(self, lake: Lake) -> None:
        days_with_holidays(lake, on("2017-01-01"), on("2017-12-31"))
        changes = compare(stored(lake), stored(lake))
        assert (changes.midnights.height, changes.holidays.height) == (0, 0)
