"""The sample moves in time by whole weeks, and ends on the day before a date."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from orders_lakehouse.sample_shop.as_of import RECORDED, move, moved, snapshot_of
from orders_lakehouse.sample_shop.edge_cases import edge_cases

DAYS = [date(2026, 11, 23) + timedelta(days=day) for day in range(14)]


def test_recorded_sample_is_not_moved() -> None:
    assert move(RECORDED) == timedelta(0)
    assert snapshot_of(RECORDED, "America/New_York") == datetime(2018, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("as_of", DAYS)
def test_last_recorded_day_is_one_with_orders_of_its_last_weeks(as_of: date) -> None:
    assert move(as_of).days % 7 == 0
    last = snapshot_of(as_of).date()
    assert last + move(as_of) == as_of - timedelta(days=1)
    # The shop was closed on the 25th, which is the last day as of each Tuesday.
    assert last in {*(date(2017, 12, 26) + timedelta(days=day) for day in range(6)), date(2017, 12, 18)}


def test_date_begins_at_midnight_of_the_zone() -> None:
    end = snapshot_of(date(2026, 7, 9), "America/New_York") + move(date(2026, 7, 9))
    assert end == datetime(2026, 7, 9, 4, tzinfo=UTC) - timedelta(microseconds=1)


def test_every_date_and_instant_is_moved() -> None:
    frame = pl.DataFrame(
        {"at": [datetime(2017, 12, 31, 23, tzinfo=UTC), None], "born": [date(1980, 2, 29), None], "text": ["2017", ""]}
    )
    later = moved(frame, date(2018, 1, 8))
    assert later.rows() == [(datetime(2018, 1, 7, 23, tzinfo=UTC), date(1980, 3, 7), "2017"), (None, None, "")]
    assert later.schema == frame.schema


def test_edge_cases_move_with_the_sample() -> None:
    later = edge_cases(date(2018, 1, 8))
    assert "'2017-01-09 10:00+00', ' paid '" in later
    assert "'2016-12-08'" in later
    assert later.count("2099-") == edge_cases().count("2099-") > 0
    assert "2017-01-02" not in later
