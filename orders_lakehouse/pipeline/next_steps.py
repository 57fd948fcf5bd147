"""Suggest what to do about failing checks, in words and commands, for the terminal and the pages of the UI."""

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

# Maximum number of commands in one paragraph.
_COMMANDS = 10
# Checks that only the comparison with the shop evaluates.
_BY_SHOP = ("agrees_with_shop", "total_price_as_in_shop")
# Checks that `freshness_job` evaluates.
_QUARTER_HOURLY = (KEEPS_UP, SENSORS_GET_THROUGH)


def next_steps(failing: pl.DataFrame, program: str = "lakehouse") -> list[str]:
    """Return what to do about failing checks, one paragraph for each way.

    Args:
        failing: Results that do not hold: check_name, date, passed, severity.
        program: Name of the command.

    Returns:
        Commands that run dates again, where a run of the date can change the result of its check; other advice where
        it cannot.
    """
    steps = []
    broken = failing_dates(failing.filter(pl.col("check_name") != VOLUME_AS_USUAL))
    if broken:
        steps.append(
            f"Once the cause is fixed, run again:\n{_commands(program, broken)}\n"
            "A correction in the shop is captured on the date of its `updated_at`:\nrun that date first."
        )
    twice = failing.filter(pl.col("check_name") == STANDS_ONCE)["date"].drop_nulls()
    on_two_dates = [day for day in twice if day not in broken]
    if on_two_dates:
        commands = _commands(program, on_two_dates, " --job derive_dates_job")
        steps.append(f"A row is on one date again once all of its dates are derived:\n{commands}")
    # A run of the date does not evaluate the checks that compare with the shop.
    if failing["check_name"].is_in(_BY_SHOP).any():
        steps.append(f"{program} reconcile\nchecks again whether the shop and raw agree.")
    if failing["check_name"].str.ends_with("_as_usual").any():
        steps.append("An unusual value needs your judgement; there is nothing to run.")
    if (failing["check_name"] == LOSSES_ARE_FEW).any():
        steps.append(
            f"Look at the values that are named, and at `{program} quarantine list`.\n"
            "Where the shop uses a word that the contract does not know, add it to the contract\n"
            "(docs/contracts.md), or offer a view that says it in the contract's words.\n"
            "Rows that wait for their order come with a capture of the dates on which it changed:\n"
            f"  {program} backfill FIRST LAST, up to the shop's last change"
        )
    whole = failing.filter(pl.col("date").is_null())["check_name"]
    by_schedule = [check for check in _QUARTER_HOURLY if (whole == check).any()]
    if by_schedule:
        steps.append(
            f"{' and '.join(by_schedule)} {'is' if len(by_schedule) == 1 else 'are'} judged again by `freshness_job` "
            "alone: every quarter of an hour\nwhile schedules run, or when you launch it in the UI."
        )
    if not whole.is_in(_QUARTER_HOURLY).all():
        steps.append("A run of any date evaluates the checks of whole tables again.")
    return steps


def _commands(program: str, dates: Iterable[date], job: str = "") -> str:
    """Return a line for each stretch of dates, at most `_COMMANDS` of them."""
    stretches = spans(dates)
    lines = [f"{program} backfill {first} {last}{job}" for first, last in stretches[:_COMMANDS]]
    if len(stretches) > _COMMANDS:
        lines.append(f"... and {len(stretches) - _COMMANDS} more stretches of dates")
    return "\n".join(f"  {line}" for line in lines)
