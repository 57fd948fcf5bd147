"""Dates as people write them."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders_lakehouse.dates import bridged, days, from_words, in_words, newest_in_words, spans

DAYS = {number: date(2017, 1, number) for number in range(1, 32)}


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([], ""),
        ([10], "2017-01-10"),
        ([27, 10, 28, 30, 29, 28], "2017-01-10, 2017-01-27 to 2017-01-30"),
        ([1, 2], "2017-01-01 to 2017-01-02"),
        ([1, 3, 5], "2017-01-01, 2017-01-03, 2017-01-05"),
    ],
)
def test_consecutive_dates_are_a_stretch(numbers: list[int], said: str) -> None:
    assert in_words(DAYS[number] for number in numbers) == said


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([], ""),
        ([1, 2, 5, 9], "2017-01-09, 2017-01-05, 2017-01-01 to 2017-01-02"),
        ([1, 3, 5, 7], "2017-01-07, 2017-01-05, 2017-01-03, and 1 earlier date"),
        ([1, 2, 4, 6, 8, 9], "2017-01-08 to 2017-01-09, 2017-01-06, 2017-01-04, and 2 earlier dates"),
    ],
)
def test_newest_dates_come_first_and_old_ones_are_counted(numbers: list[int], said: str) -> None:
    assert newest_in_words(DAYS[number] for number in numbers) == said


def test_stretch_goes_on_over_the_end_of_a_month() -> None:
    assert spans([date(2017, 2, 28), date(2017, 3, 1)]) == [(date(2017, 2, 28), date(2017, 3, 1))]


@given(st.sets(st.integers(0, 60)))
def test_written_dates_can_be_read(numbers: set[int]) -> None:
    dates = [date(2017, 1, 1) + timedelta(days=number) for number in sorted(numbers)]
    assert from_words(in_words(dates)) == dates


@given(st.sets(st.integers(0, 60)), st.integers(1, 8))
def test_bridged_stretches_hold_all_dates_within_the_limit(numbers: set[int], most: int) -> None:
    dates = [date(2017, 1, 1) + timedelta(days=number) for number in sorted(numbers)]
    found = bridged(spans(dates), most)
    assert len(found) == min(most, len(spans(dates)))
    assert set(dates) <= {day for span in found for day in days(*span)}
    assert spans(day for span in found for day in days(*span)) == found


def test_narrowest_gaps_are_bridged() -> None:
    found = bridged(spans(DAYS[number] for number in (1, 3, 10, 12, 20)), 3)
    assert found == [(DAYS[1], DAYS[3]), (DAYS[10], DAYS[12]), (DAYS[20], DAYS[20])]
