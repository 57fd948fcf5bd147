"""Commands that repair a table of the lake, as text for people. No command is run here.

Derived tables are derived again from raw. If raw has lost rows, a backup is the first choice; the second is to capture
again what the shop still has.
"""

import shlex
from collections.abc import Sequence
from datetime import date

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.object_store import is_s3
from orders_lakehouse.tables import CALENDAR, CHECK_RESULTS, DIMENSIONS, KEY_DATES, RAW

Dates = tuple[date, date]
FROM_BACKUP = "Put the files back from a backup, or from the versions of the bucket."
OVERWRITTEN = "Versions that the shop has overwritten since are then lost."
_MEMBERS = tuple(table.name for table in DIMENSIONS)


def remake(table: Table, dates: Dates) -> list[str]:
    """Return the commands that make the rows of a table again, and those of all tables made from it.

    Args:
        table: A table of the lake.
        dates: First and last date that may lack rows.
    """
    if table is KEY_DATES:
        return ["lakehouse rebuild-key-dates", _backfill(dates, "derive_dates_job")]
    if table in RAW or table is CHECK_RESULTS:
        # Only reconciliation finds rows that were deleted in the shop or changed without a new clock. The second call
        # compares totals, once the corrections are derived.
        return [
            _backfill(dates, "capture_changes_job"),
            "lakehouse reconcile --apply",
            _backfill(dates, "derive_dates_job"),
            "lakehouse reconcile",
        ]
    if table is CALENDAR:
        return ["lakehouse calendar", *derive(table, dates)]
    if table.layer == "raw":
        # Each capture writes down the columns of its table.
        return [_backfill(dates, "capture_changes_job")]
    return derive(table, dates)


def derive(table: Table, dates: Dates) -> list[str]:
    """Return the commands that derive dates again from raw, after a table or its inputs have lost rows."""
    # Members of dimensions are cleansed by capture date, with a job of their own.
    members = [_backfill(dates, "refresh_cleansed_job")] if table.name in _MEMBERS or table.layer == "raw" else []
    return [*members, _backfill(dates, "derive_dates_job")]


def recapture(table: Table, days: Sequence[date], dates: Dates) -> list[str]:
    """Return the commands that capture damaged dates of a raw table again, and derive the dates that this affects."""
    taken = [f"lakehouse recapture {table.name} {day}" for day in days]
    return [*taken, _backfill((min(days), max(days)), "capture_changes_job"), _backfill(dates, "derive_dates_job")]


def remove_folder(location: str) -> str:
    """Return the command that removes a table."""
    return f"aws s3 rm --recursive {shlex.quote(location)}" if is_s3(location) else f"rm -r {shlex.quote(location)}"


def move_away(location: str) -> str:
    """Return the command that moves a table to another name beside it, which no program reads."""
    target = shlex.quote(f"{location}.damaged")
    if is_s3(location):
        return f"aws s3 mv --recursive {shlex.quote(location)} {target}"
    return f"mv {shlex.quote(location)} {target}"


def remove_files(location: str, names: Sequence[str]) -> list[str]:
    """Return the commands that remove files of a table."""
    paths = [shlex.quote(f"{location}/{name}") for name in names]
    if is_s3(location):
        return [f"aws s3 rm {path}" for path in paths]
    return [f"rm {' '.join(paths)}"] if paths else []


def forget_copy(name: str, schema: str) -> str:
    """Return the command after which the next run loads a copy in the warehouse whole."""
    return f"lakehouse psql warehouse -- -c \"delete from {schema}.loaded where table_name = '{name}'\""


def _backfill(dates: Dates, job: str) -> str:
    return f"lakehouse backfill {dates[0]} {dates[1]} --job {job}"
