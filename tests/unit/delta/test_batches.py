"""A range of dates, cut into portions by the rows that the dates have."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders_lakehouse.dates import days
from orders_lakehouse.delta.batches import batch_spans, row_limit
from tests.support.rows import on

FIRST, LAST = on("2020-01-01"), on("2020-02-10")


@given(
    rows=st.dictionaries(st.dates(FIRST, LAST), st.integers(0, 50)),
    limit=st.integers(1, 100),
)
def test_batches_cover_a_range_once_within_their_limit(rows: dict[date, int], limit: int) -> None:
    found = batch_spans(rows, FIRST, LAST, limit)
    assert [day for span in found for day in days(*span)] == days(FIRST, LAST)
    for first, last in found:
        held = [rows.get(day, 0) for day in days(first, last)]
        assert sum(held) <= limit or sum(map(bool, held)) == 1


def test_portions_are_as_few_as_their_rows_allow() -> None:
    ordinary = dict.fromkeys(days(FIRST, FIRST + timedelta(days=9)), 10)
    busy = FIRST + timedelta(days=5)
    assert batch_spans(ordinary, FIRST, LAST, 100) == [(FIRST, LAST)]
    assert batch_spans({**ordinary, busy: 500}, FIRST, LAST, 100) == [
        (FIRST, busy - timedelta(days=1)),
        (busy, busy),
        (busy + timedelta(days=1), LAST),
    ]


@pytest.mark.usefixtures("clean_settings")
@pytest.mark.parametrize(("gigabytes", "rows"), [("1", 50_000), ("1.3", 100_000), ("64", 300_000)])
def test_portions_follow_the_memory_that_the_settings_allow(
    gigabytes: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_MEMORY_GB", gigabytes)
    assert row_limit() == rows
