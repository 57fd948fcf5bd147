"""Whether the tables of the lake are as their logs say: the log is whole, and each file is there. No row is read."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date

import polars as pl

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.dates import in_words
from orders_lakehouse.delta import mending
from orders_lakehouse.delta.corruption import CAPTURED, differing_files, look_at_data, unreadable_commit
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.log_files import HINT, LOG, LogFiles, log_files
from orders_lakehouse.delta.mending import Dates
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.storage_errors import storage_trouble
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.findings import ERROR, WARNING, Finding, Looked
from orders_lakehouse.pipeline.check_results import counted_in_raw, evaluations
from orders_lakehouse.pipeline.row_accounting import missing
from orders_lakehouse.pipeline.stored_calendar import start_of
from orders_lakehouse.tables import CLEANSED, RAW, RAW_OF, TABLES

# Files, versions and dates that a finding names.
_NAMED = 5
# Dates of raw that are taken again one by one; of more, the message says so.
_RECAPTURED = 20
# A listing beside a writer may show a commit and not the one before.
_LISTED_AGAIN_SECONDS = 0.5


def dates_of(lake: Lake) -> Dates:
    """First date of the lake, and the last one that a table has rows of, or that was ever captured.

    A table that cannot be opened tells nothing; what is wrong with it is a finding of its own.
    """
    start = start_of(lake)
    known = [start]
    for table in TABLES:
        with suppress(ExpectedError):
            handle = find(lake, table)
            known += [] if handle is None else _latest(files_of(handle, table)["date"])
    with suppress(ExpectedError):
        # A date whose rows are lost is known from what was checked.
        known += _latest(counted_in_raw(evaluations(lake))["date"])
    return start, max(known)


def _latest(dates: pl.Series) -> list[date]:
    last = dates.max()
    return [last] if isinstance(last, date) else []


def look_at_tables(lake: Lake, dates: Dates) -> Looked:
    """Compare each table's log with itself, with the files that lie there, and with what this program expects.

    Args:
        lake: The lake.
        dates: First and last date of the lake.
    """
    tables = [_look_at(lake, table, dates) for table in TABLES]
    made = [one for one in tables if one is not None]
    findings = [finding for one in made for finding in one.findings]
    if not made:
        return Looked(f"nothing here yet, no table in {lake.url}; `lakehouse backfill` makes them")
    older = [one for one in made if one.older]
    if older:
        findings.append(
            Finding(
                ERROR,
                "tables to migrate",
                _in_short([one.table.path for one in older]),
                "tables that are as the present contracts and settings want them",
                f"Until then nobody reads or writes them. {older[0].older}",
                ["lakehouse migrate"],
            )
        )
    files = sum(one.files for one in made)
    well = f"logs and {files:,} files agree" if not findings else "not all of them as they should be"
    return Looked(f"{len(made)} tables in {lake.url}, {well}", findings)


@dataclass(frozen=True)
class _Table:
    """A table that was looked at.

    Attributes:
        table: The table.
        files: Files that its log names.
        older: Why it has to be migrated; empty where it has not.
        findings: What is wrong with it besides.
    """

    table: Table
    files: int = 0
    older: str = ""
    findings: Sequence[Finding] = ()


def _look_at(lake: Lake, table: Table, dates: Dates) -> _Table | None:
    """Look at one table; None when nobody has made it."""
    location = lake.location(table)
    with storage_trouble(location):
        there = _listed(location)
    if there.last < 0:
        return None
    findings = _of_log(table, location, there, dates)
    if any(finding.severity == ERROR for finding in findings):
        return _Table(table, findings=findings)
    handle = None
    try:
        handle = lake.find(table)
        with storage_trouble(location):
            differing = differing_files(handle)
        findings += [_of_files(lake, table, differing, dates)] if differing else []
        lake.open(table)
    except LakeError as error:
        if handle is not None and "lakehouse migrate" in str(error):
            return _Table(table, len(handle.file_uris()), older=str(error), findings=findings)
        return _Table(table, findings=[*findings, _not_opened(table, location, there, str(error), dates)])
    return _Table(table, len(handle.file_uris()), findings=findings)


def _listed(location: str) -> LogFiles:
    there = log_files(location)
    if there.broken:
        time.sleep(_LISTED_AGAIN_SECONDS)
        there = log_files(location)
    return there


def _of_log(table: Table, location: str, there: LogFiles, dates: Dates) -> list[Finding]:
    findings = []
    if there.broken:
        findings.append(_broken(table, location, there, there.broken, dates))
    elif there.hinted is not None and there.hinted not in there.checkpoints:
        findings.append(
            Finding(
                ERROR,
                table.path,
                f"no checkpoint of version {there.hinted}, which {LOG}/{HINT} names",
                "the checkpoint that readers are told to begin with",
                f"{mending.FROM_BACKUP} Without a backup, remove the name: the commits say the same as the checkpoint.",
                mending.remove_files(location, [f"{LOG}/{HINT}"]),
            )
        )
    if there.broken_before:
        findings.append(
            Finding(
                WARNING,
                table.path,
                f"commits are missing or empty: {_numbers(there.broken_before)}",
                f"every commit from {min(there.commits)} to {there.begins_at}",
                "Older versions of the table cannot be read; its rows as they are stand whole, by the checkpoint of "
                f"version {there.begins_at}. {mending.FROM_BACKUP}",
            )
        )
    return findings


def _broken(table: Table, location: str, there: LogFiles, broken: Sequence[int], dates: Dates) -> Finding:
    """Of a log that ends before its last commit."""
    last = broken[0] - 1
    found = f"commits are missing, empty or cannot be read: {_numbers(broken)}; the last one is {there.last}"
    expected = f"every commit from {there.begins_at} to {there.last}"
    later = [f"{LOG}/{version:020}.json" for version in sorted(there.commits) if version > last]
    hint = [f"{LOG}/{HINT}"] if there.hinted is not None and there.hinted not in there.checkpoints else []
    if last in there.commits or last in there.checkpoints:
        price = f" {mending.OVERWRITTEN}" if table in RAW else ""
        return Finding(
            ERROR,
            table.path,
            found,
            expected,
            f"{mending.FROM_BACKUP} Without a backup, remove these commits and those after them: the table is then as "
            f"it was at version {last}. Then make again what they held.{price}",
            [*mending.remove_files(location, [*later, *hint]), *mending.again(table, dates)],
        )
    return Finding(ERROR, table.path, found, expected, *_made_anew(table, location, dates))


def _made_anew(table: Table, location: str, dates: Dates) -> tuple[str, list[str]]:
    """What to do about a table of which nothing can be read."""
    if table in RAW:
        return (
            "Raw is the only memory of what the shop no longer says. "
            f"{mending.FROM_BACKUP} Only if there is none, move the table away and take it again from the shop. "
            f"{mending.OVERWRITTEN}",
            [mending.move_away(location), *mending.again(table, dates)],
        )
    return (
        f"{mending.FROM_BACKUP} Without a backup, remove the table, which is made of others, and make it again.",
        [mending.remove_folder(location), *mending.again(table, dates)],
    )


def _not_opened(table: Table, location: str, there: LogFiles, error: str, dates: Dates) -> Finding:
    """Of a table whose log is there and that cannot be used."""
    unreadable = unreadable_commit(location, there) if "damaged" in error else None
    if unreadable is not None:
        return _broken(table, location, there, [unreadable[0]], dates)
    return Finding(ERROR, table.path, error, "a table that this program can read", "As it says.")


def _of_files(lake: Lake, table: Table, differing: Sequence[tuple[str, str]], dates: Dates) -> Finding:
    """Of a table some of whose files are not as its log says."""
    named = [f"{path} {wrong}" for path, wrong in differing[:_NAMED]]
    more = [f"and {len(differing) - _NAMED:,} more"] if len(differing) > _NAMED else []
    what = (table.path, "; ".join([*named, *more]), "every file that its log names, of the size that it names")
    captured = [date.fromisoformat(match[1]) for path, _ in differing if (match := CAPTURED.match(path))]
    if table not in RAW:
        return Finding(ERROR, *what, *_made_anew(table, lake.location(table), dates))
    days = sorted(set(captured))
    some = f" The first {_RECAPTURED} of {len(days)} dates are named." if len(days) > _RECAPTURED else ""
    return Finding(
        ERROR,
        *what,
        f"{mending.FROM_BACKUP} Without a backup, take these dates again from the shop: {in_words(days)}. "
        f"{mending.OVERWRITTEN}{some}",
        mending.recapture(table, days[:_RECAPTURED], dates),
    )


def look_at_contents(lake: Lake, dates: Dates) -> Looked:
    """Read every file of every table, and compare the versions of raw with those that cleansed tables account for.

    Args:
        lake: The lake.
        dates: First and last date of the lake.
    """
    made = [table for table in TABLES if find(lake, table) is not None]
    damaged = [_content(lake, table, dates) for table in made]
    balances = [_balance(lake, table, dates) for table in CLEANSED if {table, RAW_OF[table.name]} <= set(made)]
    findings = [finding for finding in (*damaged, *balances) if finding is not None]
    return Looked(f"every file of {len(made)} tables was read, {len(findings) or 'nothing'} is wrong", findings)


def _content(lake: Lake, table: Table, dates: Dates) -> Finding | None:
    location = lake.location(table)
    with storage_trouble(location):
        wrong = look_at_data(location)
    if wrong is None:
        return None
    commands = [] if table in RAW else _made_anew(table, location, dates)[1]
    return Finding(ERROR, table.path, wrong, "files that can be read", "As it says.", commands)


def _balance(lake: Lake, table: Table, dates: Dates) -> Finding | None:
    beyond = -missing(lake, table)
    raw = RAW_OF[table.name]
    if beyond <= 0:
        # What waits to be derived is told by `keeps_up`.
        return None
    return Finding(
        ERROR,
        raw.path,
        f"{beyond:,} versions fewer than {table.path} and its quarantine account for",
        "at least as many",
        f"Raw has lost rows. {mending.FROM_BACKUP} Without a backup, take them again from the shop. "
        f"{mending.OVERWRITTEN}",
        mending.again(raw, dates),
    )


def _numbers(versions: Sequence[int]) -> str:
    return _in_short([str(version) for version in versions])


def _in_short(names: Sequence[str]) -> str:
    """The first of some names, and how many there are beyond."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
