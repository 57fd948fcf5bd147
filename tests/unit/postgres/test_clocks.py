"""Clocks that differ: from when on it matters, and how it is told."""

from datetime import timedelta

import pytest

from orders_lakehouse.postgres.clocks import finding_of_skew

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("seconds", "severity", "found"),
    [
        (4, None, None),
        (-12, "warning", "its clock is 12 s behind this machine's"),
        (600, "warning", "its clock is 10 min ahead of this machine's"),
        (90_000, "error", "its clock is 25.0 h ahead of this machine's"),
    ],
)
def test_clock_difference_warns_and_beyond_limit_is_an_error(
    seconds: int, severity: str | None, found: str | None
) -> None:
    told = finding_of_skew("shop", timedelta(seconds=seconds), "So what.", DAY)
    assert (told and told.severity, told and told.found) == (severity, found)


def test_clock_difference_without_limit_is_a_warning() -> None:
    told = finding_of_skew("warehouse", 2 * DAY, "So what.")
    assert told is not None
    assert told.severity == "warning"
