"""The clock of a database beside that of this machine."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from orders_lakehouse.findings import ERROR, WARNING, Finding

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

# Clocks that are set over the network differ by less.
_USUAL = timedelta(seconds=5)


def skew_of(cursor: "Cursor") -> timedelta:
    """How far the clock of a database is ahead of this machine's (negative: behind), as far as an answer tells."""
    before = datetime.now(UTC)
    cursor.execute("SELECT clock_timestamp()")
    row = cursor.fetchone()
    after = datetime.now(UTC)
    now = before if row is None else row[0]
    # It was read at some instant between the question and the answer.
    return max(now - after, timedelta()) + min(now - before, timedelta())


def finding_of_skew(what: str, skew: timedelta, means: str, limit: timedelta | None = None) -> Finding | None:
    """What is wrong with a clock; None where it differs no more than clocks do.

    Args:
        what: Whose clock.
        skew: As `skew_of` says.
        means: What follows from a difference.
        limit: From this difference on it is an error.
    """
    if abs(skew) <= _USUAL:
        return None
    side = "ahead of" if skew > timedelta() else "behind"
    return Finding(
        ERROR if limit is not None and abs(skew) >= limit else WARNING,
        what,
        f"its clock is {in_words(skew)} {side} this machine's",
        f"at most {in_words(_USUAL)}",
        f"{means} Set the clock that is wrong, on its machine:",
        ["timedatectl set-ntp true"],
    )


def in_words(skew: timedelta) -> str:
    """A difference, as people write it: 12 s, 3 min, 2.5 h."""
    seconds = abs(skew).total_seconds()
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
