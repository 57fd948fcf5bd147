"""What is unusual about a date, against plain Python and its statistics."""

import math
import statistics
from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.transforms.anomalies import DAYS, RARE, against_weekdays, mix_shifts
from tests.support.frames import collected, on_polars
from tests.support.rows import on, rows

DAY = on("2020-03-02")
WEEK = timedelta(weeks=1)
MEASURED = ("currency", ("orders", "net"))


def _beside(orders: Mapping[date, int], first: date = DAY, last: date = DAY) -> pl.DataFrame:
    """Judged sales of so many orders by date."""
    sales = rows(DAILY_SALES, *({"order_date": day, "orders": number} for day, number in orders.items()))
    return collected(against_weekdays(on_polars(sales), *MEASURED, first, last)).sort("order_date", "measure")


def _weeks(*numbers: int) -> dict[date, int]:
    """Orders of the same weekday in the weeks before, the last one first."""
    return {DAY - week * WEEK: number for week, number in enumerate(numbers, start=1)}


def test_date_without_any_sales_is_the_most_unusual_of_all() -> None:
    beside = _beside(_weeks(100, 110, 90, 100))
    assert beside.select("measure", "value").rows() == [("net", 0), ("orders", 0)]
    assert (beside["score"] < -9).all()


@pytest.mark.parametrize("weeks", [0, 3])
def test_few_weekdays_are_not_judged(weeks: int) -> None:
    assert _beside({**_weeks(*[100] * weeks), DAY: 5}).is_empty()


def test_other_weekdays_and_older_dates_are_ignored() -> None:
    others = {DAY - timedelta(days=days): 5 for days in range(1, 80) if days % 7}
    long_ago = {DAY - weeks * WEEK: 5 for weeks in (9, 10)}
    beside = _beside({**others, **long_ago, **_weeks(*[100] * 8), DAY: 100}).filter(measure="orders")
    assert beside.select("usual", "weekdays", "score").rows() == [(100, 8, 0)]


@pytest.mark.parametrize(("usual", "orders", "score"), [(100, 104, 0.4), (100, 100, 0), (0, 0, 0), (0, 3, 3)])
def test_identical_weekdays_do_not_make_small_changes_alarms(usual: int, orders: int, score: float) -> None:
    beside = _beside({**_weeks(*[usual] * 8), DAY: orders}).filter(measure="orders")
    assert beside["score"].to_list() == [pytest.approx(score)]


def test_currencies_are_judged_apart() -> None:
    sales = [
        {"order_date": DAY - week * WEEK, "currency": currency, "orders": number}
        for week in range(5)
        for currency, number in (("EUR", 100), ("USD", 10 if week else 100))
    ]
    beside = collected(against_weekdays(on_polars(rows(DAILY_SALES, *sales)), *MEASURED, DAY, DAY)).filter(
        measure="orders"
    )
    assert dict(beside.select("currency", pl.col("score") > 4).iter_rows()) == {"EUR": False, "USD": True}


@settings(max_examples=40)
@given(st.dictionaries(st.integers(0, 12), st.integers(0, 10_000)))
def test_scores_are_those_of_statistics(by_week: dict[int, int]) -> None:
    found = _beside({DAY - week * WEEK: number for week, number in by_week.items()}).filter(measure="orders")
    usual = [number for week, number in by_week.items() if 1 <= week <= 8]
    if len(usual) < 4:
        assert found.is_empty()
        return
    mean = statistics.fmean(usual)
    deviation = max(statistics.stdev(usual), mean * 0.1) or 1
    expected = (by_week.get(0, 0) - mean) / deviation
    assert found["score"].to_list() == [pytest.approx(expected)]


def _shifts(of_date: Mapping[str, int], before: Mapping[str, int]) -> pl.DataFrame:
    """Shifts of a date, whose days before have a mix together."""
    counts = [(DAY, value, number) for value, number in of_date.items()]
    counts += [(DAY - timedelta(days=DAYS), value, number) for value, number in before.items()]
    # Neither what comes later nor what is longer ago counts.
    counts += [(DAY + timedelta(days=1), "other", 10_000), (DAY - timedelta(days=DAYS + 1), "other", 10_000)]
    frame = pl.DataFrame(counts, schema={"date": pl.Date, "value": pl.String, "rows": pl.UInt32}, orient="row")
    return collected(mix_shifts(on_polars(frame), DAY, DAY)).sort("value")


def test_index_of_two_values() -> None:
    shifts = _shifts({"card": 400, "cash": 600}, {"card": 5_000, "cash": 5_000})
    assert shifts["shift"].to_list() == [
        pytest.approx((0.4 - 0.5) * math.log(0.4 / 0.5), rel=0.02),
        pytest.approx((0.6 - 0.5) * math.log(0.6 / 0.5), rel=0.02),
    ]


def test_new_and_missing_values_are_shifts() -> None:
    shifts = _shifts({"a": 500, "new": 500}, {"a": 5_000, "gone": 5_000})
    assert [shift > 1 for shift in shifts["shift"]] == [False, True, True]


@pytest.mark.parametrize(("of_date", "before"), [(199, 10_000), (10_000, 199)])
def test_few_rows_are_not_judged(of_date: int, before: int) -> None:
    assert _shifts({"a": of_date}, {"b": before}).is_empty()


def test_many_rare_values_are_no_shift() -> None:
    # A hundred values, none of which stands on both sides.
    ours, usual = ({f"{side}{number}": 10 for number in range(100)} for side in ("x", "y"))
    shifts = _shifts(ours, usual)
    assert shifts["value"].to_list() == [RARE]
    assert shifts["shift"].sum() < 0.01


_MIX = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 2_000))


@settings(max_examples=40)
@given(_MIX, _MIX)
def test_index_is_that_of_plain_arithmetic(of_date: dict[str, int], before: dict[str, int]) -> None:
    found = _shifts(of_date, before)
    total, total_before = sum(of_date.values()), sum(before.values())
    if min(total, total_before) < 200:
        assert found.is_empty()
        return
    bins: dict[str, list[int]] = {}
    for value in {*of_date, *before}:
        ours, usual = of_date.get(value, 0), before.get(value, 0)
        rare = ours < total * 0.02 and usual < total_before * 0.02
        known = bins.setdefault(RARE if rare else value, [0, 0])
        known[0], known[1] = known[0] + ours, known[1] + usual
    pairs = [((ours + 0.5) / total, (usual + 0.5) / total_before) for ours, usual in bins.values()]
    index = sum((share - usual) * math.log(share / usual) for share, usual in pairs)
    assert found["shift"].sum() == pytest.approx(index)
    assert (found["shift"] >= 0).all()
    assert found["rows"].sum() == total
