"""How the results of checks are told: dates as stretches, failures by what was found."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from orders_lakehouse.contracts.tables import CHECK_RESULTS
from orders_lakehouse.terminal.checks import ChecksError, Wanted, select

DAYS = {number: date(2017, 1, number) for number in range(1, 32)}


def results(*rows: tuple[str, str, int, bool, int]) -> pl.DataFrame:
    """Evaluations: asset, check, day, whether it passed, hour of the evaluation."""
    return pl.DataFrame(
        [
            {
                "asset": asset,
                "check_name": check,
                "date": DAYS[day],
                "passed": passed,
                "severity": "ERROR",
                "run_id": f"run {hour}",
                "evaluated_at": datetime(2017, 2, 1, hour, tzinfo=UTC),
            }
            for asset, check, day, passed, hour in rows
        ],
        schema=CHECK_RESULTS.schema,
    )


ALL = results(
    ("cleansed/orders", "no_row_lost", 1, False, 1),
    ("cleansed/orders", "no_row_lost", 1, True, 2),
    ("cleansed/orders", "rejected_share", 1, False, 2),
    ("raw/orders", "raw_matches_source", 2, True, 1),
    ("raw/order_items", "raw_matches_source", 2, False, 1),
)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(), ["raw_matches_source", "raw_matches_source", "no_row_lost", "rejected_share"]),
        (Wanted(failed=True), ["raw_matches_source", "rejected_share"]),
        (Wanted(history=True, check="no_row_lost"), ["no_row_lost", "no_row_lost"]),
        (Wanted(day=DAYS[1]), ["no_row_lost", "rejected_share"]),
        (Wanted(day=DAYS[3]), []),
        (Wanted(table="orders"), ["raw_matches_source", "no_row_lost", "rejected_share"]),
        (Wanted(table="cleansed.orders"), ["no_row_lost", "rejected_share"]),
        (Wanted(table="raw/orders"), ["raw_matches_source"]),
    ],
)
def test_what_is_asked_for(wanted: Wanted, expected: list[str]) -> None:
    assert select(ALL, wanted)["check_name"].to_list() == expected


@pytest.mark.parametrize("wanted", [Wanted(table="oders"), Wanted(check="no_row_los")])
def test_a_name_without_results_is_refused_with_those_that_have_some(wanted: Wanted) -> None:
    with pytest.raises(ChecksError, match=r"no check result of '.+'; there are results of .*(orders|no_row)"):
        select(ALL, wanted)


def test_of_no_results_nothing_is_refused() -> None:
    assert select(results(), Wanted(table="orders", check="no_row_lost")).is_empty()
