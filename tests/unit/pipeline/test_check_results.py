"""Evaluations that later ones have superseded, and what is said without them."""

from datetime import UTC, date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders_lakehouse.pipeline.check_results import failing, in_force, without_superseded
from orders_lakehouse.tables import CHECK_RESULTS

HOURS = [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in range(24)]
NEVER = datetime(2100, 1, 1, tzinfo=UTC)


def evaluations(*passed: bool, day: date | None = date(2017, 1, 1)) -> pl.DataFrame:
    """Evaluations of one check and date, an hour apart."""
    fixed = {"asset": "cleansed/orders", "check_name": "no_row_lost", "date": day, "severity": "ERROR"}
    rows = [
        {**fixed, "passed": holds, "evaluated_at": HOURS[number], "run_id": str(number)}
        for number, holds in enumerate(passed)
    ]
    return pl.DataFrame(rows, schema=CHECK_RESULTS.schema)


def hours(rows: pl.DataFrame) -> list[int]:
    return [at.hour for at in rows["evaluated_at"]]


@pytest.mark.parametrize(
    ("passed", "left"),
    [
        ([True, True, True], [2]),
        ([False, False, True], [2]),
        ([True, False, False, False], [0, 1, 3]),
        ([False, False, False], [0, 2]),
        ([True, False, True, False, False], [2, 3, 4]),
    ],
)
@pytest.mark.parametrize("day", [date(2017, 1, 1), None])
def test_results_in_force_and_their_start_stay(passed: list[bool], left: list[int], day: date | None) -> None:
    assert hours(without_superseded(evaluations(*passed, day=day), NEVER)) == left


def test_young_results_stay() -> None:
    assert hours(without_superseded(evaluations(True, True, True, True), HOURS[2])) == [2, 3]


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.lists(st.booleans(), max_size=12), st.sampled_from(HOURS))
def test_answers_are_the_same_without_pruned_results(one: list[bool], two: list[bool], before: datetime) -> None:
    rows = pl.concat([evaluations(*one), evaluations(*two, day=None)])
    left = without_superseded(rows, before)
    assert in_force(left).equals(in_force(rows))
    assert failing(left).equals(failing(rows))
    assert without_superseded(left, before).equals(left)
