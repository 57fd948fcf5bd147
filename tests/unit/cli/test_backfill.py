"""Which dates a backfill runs, and what is said when it failed."""

import sys
from datetime import date

import pytest

from orders_lakehouse.cli.backfill import explain_failure, ranges
from orders_lakehouse.cli.backfill_request import Request
from orders_lakehouse.cli.runs import BackfillError
from orders_lakehouse.instance.outcome import CheckOutcome, Outcome


def on(text: str) -> date:
    return date.fromisoformat(f"2017-03-{text}")


def request_of(first: str, last: str, *without: str, job: str = "refresh_all_job") -> Request:
    return Request(on(first), on(last), frozenset(map(on, without)), job)


@pytest.fixture(autouse=True)
def called_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orders_lakehouse.cli.backfill_request.program", lambda: "lakehouse")
    monkeypatch.setattr(sys, "argv", ["lakehouse"])


@pytest.mark.parametrize(
    ("without", "expected"),
    [
        ((), [("01", "09")]),
        (("04",), [("01", "03"), ("05", "09")]),
        (("01",), [("02", "09")]),
        (("09",), [("01", "08")]),
        (("08", "02", "03"), [("01", "01"), ("04", "07"), ("09", "09")]),
    ],
)
def test_remaining_dates_are_ranges(without: tuple[str, ...], expected: list[tuple[str, str]]) -> None:
    assert ranges(request_of("01", "09", *without)) == [(on(first), on(last)) for first, last in expected]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (request_of("02", "01"), "the range is empty: found 2017-03-02 to 2017-03-01"),
        (request_of("01", "02", "03"), "2017-03-03 cannot be left out: it is not in 2017-03-01 to 2017-03-02"),
        (request_of("01", "02", "01", "02"), "no date is left"),
    ],
)
def test_request_without_dates_is_refused(request_: Request, said: str) -> None:
    with pytest.raises(BackfillError, match=said):
        ranges(request_)


def failed(*dates: str) -> CheckOutcome:
    return CheckOutcome(False, "ERROR", tuple(f"2017-03-{day}" for day in dates))


def explained(request_: Request, outcome: Outcome) -> list[str]:
    return explain_failure(request_, outcome).splitlines()


def test_bad_dates_are_named_with_a_command_for_the_others() -> None:
    outcome = Outcome(
        "some-run",
        checks={
            ("cleansed/orders", "no_row_lost"): failed("04"),
            ("cleansed/payments", "no_row_lost"): failed("06", "04"),
            ("cleansed/orders", "orders_contract"): CheckOutcome(True),
            ("curated/order_lines", "category_mix_as_usual"): CheckOutcome(False, "WARN", ("2017-03-08",)),
            # An alarm, and still no reason to leave the date out.
            ("curated/daily_sales", "volume_as_usual"): CheckOutcome(False, "ERROR", ("2017-03-08",), blocking=False),
        },
    )
    assert explained(request_of("01", "09", "02", job="refresh_cleansed_job"), outcome) == [
        "the run failed.",
        "  check no_row_lost on cleansed/orders failed for 1 date: 2017-03-04",
        "  check no_row_lost on cleansed/payments failed for 2 dates: 2017-03-06, 2017-03-04",
        "The other dates run without them:",
        "  lakehouse backfill 2017-03-01 2017-03-09 --without 2017-03-02 --without 2017-03-04 --without 2017-03-06 "
        "--job refresh_cleansed_job",
        "`make dev` and run some-run show the details; "
        "once the cause is fixed, the same backfill again repairs the tables.",
    ]


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome("run", checks={("a", "check"): failed("01", "02")}),
        Outcome("run", checks={("a", "check"): failed("01"), ("b", "check"): failed()}),
        Outcome("run", checks={("a", "check"): failed("01")}, errors={"raw__orders": "the shop is closed"}),
    ],
    ids=["no date is left", "a check tells no dates", "a step failed"],
)
def test_no_command_is_printed_that_would_not_help(outcome: Outcome) -> None:
    assert not any("lakehouse backfill" in line for line in explained(request_of("01", "02"), outcome))


def test_steps_failed_by_one_cause_are_reported_together() -> None:
    outcome = Outcome("run", errors={"raw__orders": "the shop is closed", "raw__payments": "the shop is closed"})
    assert explained(request_of("01", "02"), outcome)[1] == "  raw/orders, raw/payments: the shop is closed"
