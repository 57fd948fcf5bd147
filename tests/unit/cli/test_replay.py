"""Which ranges a replay runs, and in which order."""

from datetime import date, timedelta

import pytest

from orders_lakehouse.cli.quarantine.replay import run_all
from orders_lakehouse.dates import days
from orders_lakehouse.instance.outcome import CheckOutcome, Outcome

FIRST = date(2017, 1, 1)


def on(*numbers: int) -> set[date]:
    """Dates by their number, from the first of January on."""
    return {FIRST + timedelta(days=number - 1) for number in numbers}


@pytest.mark.parametrize(
    ("asked", "bad", "broken", "expected"),
    [
        # Near dates are joined, but not over a date that is known to be bad.
        ((1, 20, 100), (), (), [(1, 20), (100, 100)]),
        ((1, 20), (10,), (), [(1, 1), (20, 20)]),
        # Bad dates come last, those in a row together; what is still bad of them keeps no other back.
        ((1, 2, 3, 4, 30), (2, 3, 4), (3,), [(1, 1), (30, 30), (2, 4), (2, 2), (4, 4)]),
        # A date that nobody asked for turns out bad: what was asked for runs without it.
        ((1, 2, 20), (), (10, 12), [(1, 20), (1, 2), (20, 20)]),
    ],
)
def test_bad_date_delays_no_other(
    monkeypatch: pytest.MonkeyPatch,
    asked: tuple[int, ...],
    bad: tuple[int, ...],
    broken: tuple[int, ...],
    expected: list[tuple[int, int]],
) -> None:
    def run_span(_job: str, first: date, last: date, _out: object) -> Outcome:
        found = sorted(str(day) for day in on(*broken).intersection(days(first, last)))
        checks = {("cleansed/orders", "rejected_share"): CheckOutcome(not found, "ERROR", tuple(found))}
        return Outcome("run", success=not found, checks=checks)

    monkeypatch.setattr("orders_lakehouse.cli.quarantine.replay.run_span", run_span)
    ran = run_all("derive_dates_job", on(*asked), on(*bad))
    numbers = [((request.first - FIRST).days + 1, (request.last - FIRST).days + 1) for request, _ in ran]
    assert numbers == expected
