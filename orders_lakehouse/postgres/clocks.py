"""Compare the clock of a database with that of this machine."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from orders_lakehouse.findings import ERROR, WARNING, Finding

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

# Largest difference of clocks that are set over the network.
_USUAL = timedelta(seconds=5)


def skew_of(cursor: "Cursor") -> timedelta:
    """Return how far the clock of a database is ahead of this machine's (negative: behind), by one query."""
    before = datetime.now(UTC)
    cursor.execute("SELECT clock_timestamp()")
    row = cursor.fetchone()
    after = datetime.now(UTC)
    now = before if row is None else row[0]
    # The database read its clock between `before` and `after`, so only a value outside of them is a skew.
    return max(now - after, timedelta()) + min(now - before, timedelta())


def finding_of_skew(what: str, skew: timedelta, means: str, limit: timedelta | None = None) -> Finding | None:
    """Return a finding for a clock; None if it differs no more than usual.

    Args:
        what: Name of the database.
        skew: The result of `skew_of`.
        means: Consequence of a difference, for people.
        limit: Smallest difference that is an error; below it is a warning.
    """
    if abs(skew) <= _USUAL:
        return None
    side = "ahead of" if skew > timedelta() else "behind"
    return Finding(
        ERROR if limit is not None and abs(skew) >= limit else WARNING,
        what,
        f"its clock is {in_words(skew)} {side} this machine's",
        f"at most {in_words(_USUAL)}",
        f"{means} Set the wrong clock, on its machine:",
        ["timedatectl set-ntp true"],
    )


def in_words(skew: timedelta) -> str:
    """Return a difference as people write it: 12 s, 3 min, 2.5 h."""
    seconds = abs(skew).total_seconds()
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
