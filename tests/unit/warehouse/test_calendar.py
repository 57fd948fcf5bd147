"""Days and public holidays."""

from datetime import date, timedelta

import pytest

from orders_lakehouse.postgres import DatabaseError
from orders_lakehouse.warehouse.calendar import calendar_days
from tests.unit.rows import on


def test_every_day_is_there_once_and_in_order() -> None:
    days = calendar_days(on("2019-12-30"), on("2020-03-01"), "US")
    assert days["date"].to_list() == [on("2019-12-30") + timedelta(days=more) for more in range(63)]
    assert days.columns == ["date", "is_holiday", "holiday_name"]
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
def test_a_holiday_has_its_name(country: str, day: str, name: str | None) -> None:
    assert calendar_days(on(day), on(day), country).rows() == [(on(day), name is not None, name)]


def test_a_country_without_known_holidays_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(DatabaseError) as raised:
        calendar_days(date(2017, 1, 1), date(2017, 1, 2), "XX")
    message = str(raised.value)
    assert "LAKEHOUSE_HOLIDAYS_COUNTRY='XX'" in message
    assert "DE, " in message
