"""What is unusual about a date, against plain Python and its statistics."""

import math
import random
import statistics
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path

import holidays
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tests.support
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.settings import Settings
from orders_lakehouse.transforms.anomalies import (
    DAYS,
    DAYS_BEFORE,
    GONE_ROWS,
    RARE,
    against_weekdays,
    mix_shifts,
)
from tests.support.rows import on, rows

DAY = on("2020-03-02")
WEEK = timedelta(weeks=1)
SUPPORT = Path(tests.support.__file__).parent
MEASURED = ("currency", ("orders", "net"))


def _judged(
    orders: Mapping[date, int], first: date = DAY, last: date = DAY, special: Sequence[date] = ()
) -> pl.DataFrame:
    """Judged sales of so many orders by date."""
    sales = rows(DAILY_SALES, *({"order_date": day, "orders": number} for day, number in orders.items()))
    judged = against_weekdays(sales, *MEASURED, first, last, special)
    return judged.filter(measure="orders").sort("order_date")


def _days(orders: int, count: int = DAYS_BEFORE) -> dict[date, int]:
    """The same orders on each of the days before."""
    return {DAY - timedelta(days=days): orders for days in range(1, count + 1)}


def test_date_without_any_sales_is_the_most_unusual_of_all() -> None:
    judged = _judged(_days(100))
    assert judged["value"].to_list() == [0]
    assert judged["score"].item() < -50


@pytest.mark.parametrize("weeks", [0, 3])
def test_few_weekdays_are_not_judged(weeks: int) -> None:
    assert _judged({**_days(100, 7 * weeks), DAY: 5}).is_empty()


@pytest.mark.parametrize(("orders", "score"), [(100, 0), (110, 0.95), (50, -6.9), (200, 6.9)])
def test_identical_days_do_not_make_small_changes_alarms(orders: int, score: float) -> None:
    judged = _judged({**_days(100), DAY: orders})
    assert judged.select("usual", "deviation", "weekdays").row(0) == pytest.approx((100, math.exp(0.1) - 1, 8))
    assert judged["score"].item() == pytest.approx(score, abs=0.05)


def test_one_extraordinary_week_moves_nothing() -> None:
    judged = _judged({**_days(100), DAY - WEEK: 1000, DAY: 100})
    assert judged["usual"].item() == pytest.approx(100)
    assert judged["score"].item() == pytest.approx(0, abs=1e-9)


def test_level_of_the_last_week_moves_what_is_usual() -> None:
    judged = _judged({**_days(100), **_days(150, 7), DAY: 150})
    assert judged["usual"].item() == pytest.approx(150)


def test_holidays_are_neither_judged_nor_compared_with() -> None:
    holidays = [DAY - week * WEEK for week in range(1, 4)]
    orders = {**_days(100), **dict.fromkeys(holidays, 3), DAY: 100}
    judged = _judged(orders, special=holidays)
    assert judged.select("weekdays", "score").row(0) == pytest.approx((5, 0), abs=1e-9)
    assert _judged(orders, special=[DAY]).is_empty()


def test_currencies_are_judged_apart() -> None:
    sales = [
        {"order_date": DAY - timedelta(days=days), "currency": currency, "orders": number}
        for days in range(DAYS_BEFORE)
        for currency, number in (("EUR", 100), ("USD", 10 if days else 100))
    ]
    judged = against_weekdays(rows(DAILY_SALES, *sales), *MEASURED, DAY, DAY)
    scores = dict(judged.filter(measure="orders").select("currency", pl.col("score") > 4).iter_rows())
    assert scores == {"EUR": False, "USD": True}


def _expected(orders: Mapping[int, int]) -> float | None:
    """The score of day 0, of orders by days before it, by plain Python."""

    def size(days: int) -> float:
        return math.log(max(orders.get(days, 0), 0.5))

    def above(days: int) -> float | None:
        usual = [size(days + 7 * week) for week in range(1, 9) if days + 7 * week in orders]
        return size(days) - statistics.median(usual) if len(usual) >= 4 else None

    of_date = above(0)
    if of_date is None:
        return None
    earlier = {days: value for days in range(1, 29) if (value := above(days)) is not None}
    week = [value for days, value in earlier.items() if days <= 7]
    level = statistics.median(week) if len(week) >= 4 else 0
    middle = statistics.median(earlier.values()) if earlier else 0
    apart = [abs(value - middle) for value in earlier.values()]
    spread = 1.4826 * statistics.median(apart) if len(apart) >= 4 else 0
    return (of_date - level) / max(spread, 0.1)


@settings(max_examples=15)
@given(st.dictionaries(st.integers(0, DAYS_BEFORE), st.integers(0, 10_000), min_size=40))
def test_scores_are_those_of_plain_python(orders: dict[int, int]) -> None:
    # No date from before the window counts.
    by_date = {DAY - timedelta(days=days): number for days, number in {**orders, DAYS_BEFORE + 1: 1, 99: 7}.items()}
    found = _judged(by_date)["score"].to_list()
    expected = _expected(orders)
    assert found == ([] if expected is None else [pytest.approx(expected)])


@settings(max_examples=8)
@given(st.dictionaries(st.integers(0, 120), st.integers(0, 500), min_size=60), st.integers(0, 20))
def test_range_judges_each_date_as_a_run_of_it_alone(orders: dict[int, int], days: int) -> None:
    by_date = {DAY - timedelta(days=day): number for day, number in orders.items()}
    day = DAY - timedelta(days=days)
    alone = _judged(by_date, day, day)
    assert _judged(by_date, DAY - timedelta(days=20), DAY).filter(order_date=day).equals(alone)


def _year_of_sales() -> tuple[pl.DataFrame, list[date]]:
    """Orders and net sales of each date of the sample shop's year; its public holidays and the days next to them."""
    sales = pl.read_csv(SUPPORT / "year_of_sales.csv", try_parse_dates=True).with_columns(currency=pl.lit("USD"))
    around = {day + timedelta(days=days) for day in holidays.US(years=(2017, 2018)) for days in (-1, 0, 1)}
    return sales, sorted(around)


def _scores(sales: pl.DataFrame, special: Sequence[date]) -> pl.DataFrame:
    """The largest score of each date and group: order_date, currency, score."""
    year = (on("2017-01-01"), on("2017-12-31"))
    judged = against_weekdays(sales, *MEASURED, *year, special)
    return judged.group_by("order_date", "currency").agg(pl.col("score").abs().max())


def test_few_ordinary_dates_of_the_sample_are_unusual() -> None:
    scores = _scores(*_year_of_sales())
    assert scores.height == 305
    usual = Settings().unusual
    assert scores.filter(pl.col("score") > usual).height / scores.height <= 0.02
    # The standard deviations of the textbook would flag every fifth date.
    assert scores.filter(pl.col("score") > 1.5).height / scores.height > 0.15


@pytest.mark.parametrize(("factor", "least"), [(0.5, 1.0), (2.0, 0.98), (0.0, 1.0)], ids=["half", "double", "missing"])
def test_planted_breaks_of_the_sample_are_unusual(factor: float, least: float) -> None:
    sales, special = _year_of_sales()
    broken_dates = _scores(sales, special)["order_date"].unique().sort().gather_every(15)
    planted = [
        sales.filter(pl.col("order_date").is_between(day - timedelta(days=DAYS_BEFORE), day))
        .with_columns(
            pl.when(pl.col("order_date") == day).then(pl.col(name) * factor).otherwise(pl.col(name)).alias(name)
            for name in MEASURED[1]
        )
        # Each break is a shop of its own.
        .with_columns(currency=pl.lit(str(day)))
        for day in broken_dates
    ]
    scores = _scores(pl.concat(planted), special).filter(pl.col("order_date").cast(pl.String) == pl.col("currency"))
    assert scores.height == len(broken_dates)
    assert (scores["score"] > Settings().unusual).mean() >= least


def _shifts(of_date: Mapping[str, int], before: Mapping[str, int]) -> pl.DataFrame:
    """Shifts of a date, whose days before have a mix together."""
    counts = [(DAY, value, number) for value, number in of_date.items()]
    counts += [(DAY - timedelta(days=DAYS), value, number) for value, number in before.items()]
    # Neither what comes later nor what is longer ago counts.
    counts += [(DAY + timedelta(days=1), "other", 10_000), (DAY - timedelta(days=DAYS + 1), "other", 10_000)]
    frame = pl.DataFrame(counts, schema={"date": pl.Date, "value": pl.String, "rows": pl.UInt32}, orient="row")
    return mix_shifts(frame, DAY, DAY).sort("value")


def test_index_of_two_values() -> None:
    shifts = _shifts({"card": 400, "cash": 600}, {"card": 5_000, "cash": 5_000})
    assert shifts["shift"].to_list() == [
        pytest.approx((0.4 - 0.5) * math.log(0.4 / 0.5), rel=0.02),
        pytest.approx((0.6 - 0.5) * math.log(0.6 / 0.5), rel=0.02),
    ]


def test_new_and_missing_values_are_shifts() -> None:
    shifts = _shifts({"a": 500, "new": 500}, {"a": 5_000, "gone": 5_000})
    assert [shift > 1 for shift in shifts["shift"]] == [False, True, True]
    assert shifts["is_gone"].to_list() == [False, True, False]


@pytest.mark.parametrize(
    ("of_date", "usual", "is_gone"),
    [(0, GONE_ROWS, True), (0, GONE_ROWS - 1, False), (1, 10 * GONE_ROWS, False)],
)
def test_value_is_gone_if_none_is_left_of_many(of_date: int, usual: int, is_gone: bool) -> None:
    # The days before have ten times the rows of the date.
    before = {"a": 10 * (4_000 - usual), "small": 10 * usual}
    shifts = _shifts({"a": 4_000 - of_date, **({"small": of_date} if of_date else {})}, before)
    assert shifts["is_gone"].any() is is_gone
    assert shifts.filter("is_gone")["value"].to_list() == (["small"] if is_gone else [])
    # Neither is a shift of the mix as a whole.
    assert shifts["shift"].sum() < 0.25


def test_each_category_that_is_gone_is_found() -> None:
    # Sales by date of a hundred categories, whose shares are as unlike as those of the sample shop.
    chance = random.Random(7)  # noqa: S311 (a sample, not a secret)
    dates = [DAY + timedelta(days=days) for days in range(DAYS + 30)]
    usual = {f"category {number:03}": 180 / (1 + number / 10) for number in range(100)}
    sold = [(day, name, max(round(chance.gauss(rows, rows**0.5)), 0)) for day in dates for name, rows in usual.items()]
    counts = pl.DataFrame(sold, schema={"date": pl.Date, "value": pl.String, "rows": pl.Int64}, orient="row")
    planted = dict(zip(dates[DAYS:], list(usual)[::2], strict=False))
    planted_rows = pl.DataFrame({"date": planted.keys(), "value": planted.values()})
    first, last = dates[DAYS], dates[-1]
    assert not mix_shifts(counts, first, last)["is_gone"].any()
    broken = mix_shifts(counts.join(planted_rows, on=["date", "value"], how="anti"), first, last)
    found = broken.filter("is_gone").select("date", "value").sort("date")
    assert found.equals(planted_rows.filter(pl.col("value").replace_strict(usual) > 1.2 * GONE_ROWS))


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
        gone = ours == 0 and usual * total >= 20 * total_before
        rare = ours < total * 0.02 and usual < total_before * 0.02 and not gone
        known = bins.setdefault(RARE if rare else value, [0, 0])
        known[0], known[1] = known[0] + ours, known[1] + usual
    pairs = [((ours + 0.5) / total, (usual + 0.5) / total_before) for ours, usual in bins.values()]
    index = sum((share - usual) * math.log(share / usual) for share, usual in pairs)
    assert found["shift"].sum() == pytest.approx(index)
    assert (found["shift"] >= 0).all()
    assert found["rows"].sum() == total
