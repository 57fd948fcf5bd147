"""Which date a skewed shop is skewed at."""

from datetime import date

import pytest

from bench.skew import black_friday


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2017-01-01", "2017-12-30", "2017-11-24"),
        ("2018-01-01", "2018-12-31", "2018-11-23"),
        ("2016-12-01", "2018-01-31", "2017-11-24"),
        ("2017-11-24", "2017-11-25", "2017-11-24"),
        ("2017-01-01", "2017-01-05", "2017-01-03"),
    ],
)
def test_date_is_black_friday_or_the_one_in_the_middle(first: str, last: str, expected: str) -> None:
    found = black_friday(date.fromisoformat(first), date.fromisoformat(last))
    assert found == date.fromisoformat(expected)
