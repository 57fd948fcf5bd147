"""Commands that mend a table of the lake, for people. Nothing here runs one of them.

What is derived is derived again from raw. What raw has lost is taken again from the shop, as far as the shop still has
it; a backup comes first.
"""

import shlex
from collections.abc import Sequence
from datetime import date

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.object_store import is_s3
from orders_lakehouse.tables import CALENDAR, CHECK_RESULTS, DIMENSIONS, KEY_DATES, RAW

Dates = tuple[date, date]
FROM_BACKUP = "Put the files back from a backup, or from the versions of the bucket."
OVERWRITTEN = "What the shop has overwritten since is lost then."
_MEMBERS = tuple(table.name for table in DIMENSIONS)


def again(table: Table, dates: Dates) -> list[str]:
    """What makes the rows of a table again, and of everything that is made of them.

    Args:
        table: A table of the lake.
        dates: First and last date that may lack rows.
    """
    if table is KEY_DATES:
        return ["lakehouse rebuild-key-dates", _backfill(dates, "derive_dates_job")]
    if table in RAW or table is CHECK_RESULTS:
        # Rows that were deleted in the shop, or have changed without a new clock, only the comparison finds. It judges
        # the totals of what it has put right once that is derived.
        return [
            _backfill(dates, "capture_changes_job"),
            "lakehouse reconcile --apply",
            _backfill(dates, "derive_dates_job"),
            "lakehouse reconcile",
        ]
    if table is CALENDAR:
        return ["lakehouse calendar", *derive(table, dates)]
    if table.layer == "raw":
        # Each capture notes the columns of its table.
        return [_backfill(dates, "capture_changes_job")]
    return derive(table, dates)


def derive(table: Table, dates: Dates) -> list[str]:
    """What derives some dates again from raw alone, where a table or what it is made of has lost rows."""
    # Members of dimensions are cleansed by their capture.
    members = [_backfill(dates, "refresh_cleansed_job")] if table.name in _MEMBERS or table.layer == "raw" else []
    return [*members, _backfill(dates, "derive_dates_job")]


def recapture(table: Table, days: Sequence[date], dates: Dates) -> list[str]:
    """What takes capture dates of a raw table again whose files are damaged, and derives what that touches."""
    taken = [f"lakehouse recapture {table.name} {day}" for day in days]
    return [*taken, _backfill((min(days), max(days)), "capture_changes_job"), _backfill(dates, "derive_dates_job")]


def remove_folder(location: str) -> str:
    """What removes a table."""
    return f"aws s3 rm --recursive {shlex.quote(location)}" if is_s3(location) else f"rm -r {shlex.quote(location)}"


def move_away(location: str) -> str:
    """What moves a table to a place beside it, where nobody looks for it."""
    beside = shlex.quote(f"{location}.damaged")
    if is_s3(location):
        return f"aws s3 mv --recursive {shlex.quote(location)} {beside}"
    return f"mv {shlex.quote(location)} {beside}"


def remove_files(location: str, names: Sequence[str]) -> list[str]:
    """What removes some files of a table."""
    paths = [shlex.quote(f"{location}/{name}") for name in names]
    if is_s3(location):
        return [f"aws s3 rm {path}" for path in paths]
    return [f"rm {' '.join(paths)}"] if paths else []


def forget_copy(name: str, schema: str) -> str:
    """What has a copy in the warehouse loaded whole by the next run."""
    return f"lakehouse psql warehouse -- -c \"delete from {schema}.loaded where table_name = '{name}'\""


def _backfill(dates: Dates, job: str) -> str:
    return f"lakehouse backfill {dates[0]} {dates[1]} --job {job}"
