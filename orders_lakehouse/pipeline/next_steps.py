"""What to do about checks that fail, in words and commands; for the terminal and for the pages of the UI."""

from collections.abc import Iterable
from datetime import date

import polars as pl

from orders_lakehouse.contracts.checks import (
    KEEPS_UP,
    LOSSES_ARE_FEW,
    SENSORS_GET_THROUGH,
    STANDS_ONCE,
    VOLUME_AS_USUAL,
)
from orders_lakehouse.dates import spans
from orders_lakehouse.pipeline.check_results import failing_dates

# Commands that are named to run failing dates again.
_COMMANDS = 10
# Checks that only the comparison with the shop judges.
_BY_SHOP = ("agrees_with_shop", "total_price_as_in_shop")
# Checks that `freshness_job` judges.
_QUARTER_HOURLY = (KEEPS_UP, SENSORS_GET_THROUGH)


def remedies(failing: pl.DataFrame, program: str = "lakehouse") -> list[str]:
    """What to do about what fails, a paragraph for each way.

    Args:
        failing: Results that do not hold: check_name, date, passed, severity.
        program: How the command is called.

    Returns:
        Commands that run dates again, where a run of the date can change what its check finds; else what can be done.
    """
    found = []
    broken = failing_dates(failing.filter(pl.col("check_name") != VOLUME_AS_USUAL))
    if broken:
        found.append(
            f"Once the cause is fixed, run again:\n{_commands(program, broken)}\n"
            "A correction in the shop is captured on the date of its `updated_at`:\nrun that date first."
        )
    twice = failing.filter(pl.col("check_name") == STANDS_ONCE)["date"].drop_nulls()
    left = [day for day in twice if day not in broken]
    if left:
        commands = _commands(program, left, " --job derive_dates_job")
        found.append(f"Rows stand on one date again once all of theirs are derived:\n{commands}")
    # What only the comparison with the shop judges, a run of the date does not judge again.
    if failing["check_name"].is_in(_BY_SHOP).any():
        found.append(f"{program} reconcile\nsays then whether the shop and raw agree.")
    if failing["check_name"].str.ends_with("_as_usual").any():
        found.append("What is unusual is for you to look at; there is nothing to run.")
    if (failing["check_name"] == LOSSES_ARE_FEW).any():
        found.append(
            f"Look at the values that are named, and at `{program} quarantine list`.\n"
            "Where the shop uses a word that the contract does not know, add it to the contract\n"
            "(docs/contracts.md), or offer a view that says it in the contract's words.\n"
            "Rows that wait for their order come with a capture of the dates on which it changed:\n"
            f"  {program} backfill FIRST LAST, up to the shop's last change"
        )
    whole = failing.filter(pl.col("date").is_null())["check_name"]
    by_schedule = [check for check in _QUARTER_HOURLY if (whole == check).any()]
    if by_schedule:
        found.append(
            f"{' and '.join(by_schedule)} {'is' if len(by_schedule) == 1 else 'are'} judged again by `freshness_job` "
            "alone: every quarter of an hour\nwhile schedules run, or when you launch it in the UI."
        )
    if not whole.is_in(_QUARTER_HOURLY).all():
        found.append("What is judged of a table as a whole is judged again by a run of any date.")
    return found


def _commands(program: str, dates: Iterable[date], job: str = "") -> str:
    """A line for each stretch of dates, and not too many of them."""
    stretches = spans(dates)
    lines = [f"{program} backfill {first} {last}{job}" for first, last in stretches[:_COMMANDS]]
    if len(stretches) > _COMMANDS:
        lines.append(f"... and {len(stretches) - _COMMANDS} more stretches of dates")
    return "\n".join(f"  {line}" for line in lines)
