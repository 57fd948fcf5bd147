"""Check that each table's log is whole and names only files that exist. Rows are read only by `look_at_contents`."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date

import polars as pl

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.dates import in_words
from orders_lakehouse.delta import mending
from orders_lakehouse.delta.corruption import CAPTURED, differing_files, find_data_damage, unreadable_commit
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.log_files import HINT, LOG, LogFiles, log_files
from orders_lakehouse.delta.mending import Dates
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.storage_errors import explain_storage_errors
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.findings import ERROR, WARNING, Examination, Finding
from orders_lakehouse.pipeline.check_results import counted_in_raw, evaluations
from orders_lakehouse.pipeline.row_accounting import missing
from orders_lakehouse.pipeline.stored_calendar import start_of
from orders_lakehouse.tables import CLEANSED, RAW, RAW_OF, TABLES

# Maximum files, versions and dates listed in a finding.
_NAMED = 5
# Maximum capture dates for which a finding lists commands; beyond it the message says so.
_RECAPTURED = 20
# Seconds before a second listing: a listing during a write may show a commit without the one before it.
_LISTED_AGAIN_SECONDS = 0.5


def dates_of(lake: Lake) -> Dates:
    """Return the first date of the lake, and the last one that has rows or was ever captured.

    A table that cannot be opened adds nothing; its problem is a finding of its own.
    """
    start = start_of(lake)
    known = [start]
    for table in TABLES:
        with suppress(ExpectedError):
            handle = find(lake, table)
            known += [] if handle is None else _latest(files_of(handle, table)["date"])
    with suppress(ExpectedError):
        # The check results name dates whose rows are lost.
        known += _latest(counted_in_raw(evaluations(lake))["date"])
    return start, max(known)


def _latest(dates: pl.Series) -> list[date]:
    last = dates.max()
    return [last] if isinstance(last, date) else []


def look_at_tables(lake: Lake, dates: Dates) -> Examination:
    """Compare each table's log with itself, with the files that exist, and with what this program expects.

    Args:
        lake: The lake.
        dates: First and last date of the lake.
    """
    tables = [_look_at(lake, table, dates) for table in TABLES]
    existing = [table for table in tables if table is not None]
    findings = [finding for table in existing for finding in table.findings]
    if not existing:
        return Examination(f"no table in {lake.url} yet; `lakehouse backfill` makes them")
    older = [table for table in existing if table.older]
    if older:
        findings.append(
            Finding(
                ERROR,
                "tables to migrate",
                _in_short([table.table.path for table in older]),
                "tables of the present contracts and settings",
                f"Until they are migrated, nobody can read or write them. {older[0].older}",
                ["lakehouse migrate"],
            )
        )
    files = sum(table.files for table in existing)
    summary = f"logs and {files:,} files agree" if not findings else "some have problems"
    return Examination(f"{len(existing)} tables in {lake.url}, {summary}", findings)


@dataclass(frozen=True)
class _Table:
    """Result of the look at one table.

    Attributes:
        table: The table.
        files: Number of files that its log names.
        older: Why it has to be migrated; empty if it has not.
        findings: Its other problems.
    """

    table: Table
    files: int = 0
    older: str = ""
    findings: Sequence[Finding] = ()


def _look_at(lake: Lake, table: Table, dates: Dates) -> _Table | None:
    """Look at one table; return None if it has not been made."""
    location = lake.location(table)
    with explain_storage_errors(location):
        log = _listed(location)
    if log.last < 0:
        return None
    findings = _log_findings(table, location, log, dates)
    if any(finding.severity == ERROR for finding in findings):
        return _Table(table, findings=findings)
    handle = None
    try:
        handle = lake.find(table)
        with explain_storage_errors(location):
            differing = differing_files(handle)
        findings += [_file_finding(lake, table, differing, dates)] if differing else []
        lake.open(table)
    except LakeError as error:
        if handle is not None and "lakehouse migrate" in str(error):
            return _Table(table, len(handle.file_uris()), older=str(error), findings=findings)
        return _Table(table, findings=[*findings, _unopened_finding(table, location, log, str(error), dates)])
    return _Table(table, len(handle.file_uris()), findings=findings)


def _listed(location: str) -> LogFiles:
    log = log_files(location)
    if log.broken:
        time.sleep(_LISTED_AGAIN_SECONDS)
        log = log_files(location)
    return log


def _log_findings(table: Table, location: str, log: LogFiles, dates: Dates) -> list[Finding]:
    findings = []
    if log.broken:
        findings.append(_broken_log(table, location, log, log.broken, dates))
    elif log.hinted is not None and log.hinted not in log.checkpoints:
        findings.append(
            Finding(
                ERROR,
                table.path,
                f"no checkpoint of version {log.hinted}, which {LOG}/{HINT} names",
                "the checkpoint at which readers begin",
                f"{mending.FROM_BACKUP} Without a backup, remove the hint: the commits say the same.",
                mending.remove_files(location, [f"{LOG}/{HINT}"]),
            )
        )
    if log.broken_before:
        findings.append(
            Finding(
                WARNING,
                table.path,
                f"commits are missing or empty: {_numbers(log.broken_before)}",
                f"every commit from {min(log.commits)} to {log.begins_at}",
                "Older versions of the table cannot be read; its current rows are whole, by the checkpoint of "
                f"version {log.begins_at}. {mending.FROM_BACKUP}",
            )
        )
    return findings


def _broken_log(table: Table, location: str, log: LogFiles, broken: Sequence[int], dates: Dates) -> Finding:
    """Return the finding for a log that ends before its last commit."""
    last = broken[0] - 1
    found = f"commits are missing, empty or cannot be read: {_numbers(broken)}; the last one is {log.last}"
    expected = f"every commit from {log.begins_at} to {log.last}"
    later = [f"{LOG}/{version:020}.json" for version in sorted(log.commits) if version > last]
    hint = [f"{LOG}/{HINT}"] if log.hinted is not None and log.hinted not in log.checkpoints else []
    if last in log.commits or last in log.checkpoints:
        price = f" {mending.OVERWRITTEN}" if table in RAW else ""
        return Finding(
            ERROR,
            table.path,
            found,
            expected,
            f"{mending.FROM_BACKUP} Without a backup, remove these commits and all later ones: the table returns to "
            f"version {last}. Then make again what they held.{price}",
            [*mending.remove_files(location, [*later, *hint]), *mending.remake(table, dates)],
        )
    return Finding(ERROR, table.path, found, expected, *_rebuild_steps(table, location, dates))


def _rebuild_steps(table: Table, location: str, dates: Dates) -> tuple[str, list[str]]:
    """Return what to do about a table of which nothing can be read: explanation and commands."""
    if table in RAW:
        return (
            "Only raw still has what the shop has since changed or deleted. "
            f"{mending.FROM_BACKUP} Only if there is no backup, move the table away and capture it from the shop. "
            f"{mending.OVERWRITTEN}",
            [mending.move_away(location), *mending.remake(table, dates)],
        )
    return (
        f"{mending.FROM_BACKUP} Without a backup, remove the table and derive it again from others.",
        [mending.remove_folder(location), *mending.remake(table, dates)],
    )


def _unopened_finding(table: Table, location: str, log: LogFiles, error: str, dates: Dates) -> Finding:
    """Return the finding for a table that has a log and cannot be opened."""
    unreadable = unreadable_commit(location, log) if "damaged" in error else None
    if unreadable is not None:
        return _broken_log(table, location, log, [unreadable[0]], dates)
    return Finding(ERROR, table.path, error, "a table that this program can read", "Follow the error message.")


def _file_finding(lake: Lake, table: Table, differing: Sequence[tuple[str, str]], dates: Dates) -> Finding:
    """Return the finding for a table with files that differ from its log."""
    named = [f"{path} {wrong}" for path, wrong in differing[:_NAMED]]
    more = [f"and {len(differing) - _NAMED:,} more"] if len(differing) > _NAMED else []
    problem = (table.path, "; ".join([*named, *more]), "every file in its log, with the size in the log")
    captured = [date.fromisoformat(match[1]) for path, _ in differing if (match := CAPTURED.match(path))]
    if table not in RAW:
        return Finding(ERROR, *problem, *_rebuild_steps(table, lake.location(table), dates))
    days = sorted(set(captured))
    some = f" The first {_RECAPTURED} of {len(days)} dates are listed." if len(days) > _RECAPTURED else ""
    return Finding(
        ERROR,
        *problem,
        f"{mending.FROM_BACKUP} Without a backup, capture these dates again from the shop: {in_words(days)}. "
        f"{mending.OVERWRITTEN}{some}",
        mending.recapture(table, days[:_RECAPTURED], dates),
    )


def look_at_contents(lake: Lake, dates: Dates) -> Examination:
    """Read every file of every table, and compare the versions of raw with those that cleansed tables account for.

    Args:
        lake: The lake.
        dates: First and last date of the lake.
    """
    existing = [table for table in TABLES if find(lake, table) is not None]
    damaged = [_content(lake, table, dates) for table in existing]
    balances = [_balance(lake, table, dates) for table in CLEANSED if {table, RAW_OF[table.name]} <= set(existing)]
    findings = [finding for finding in (*damaged, *balances) if finding is not None]
    return Examination(f"every file of {len(existing)} tables was read, {len(findings) or 'no'} problems", findings)


def _content(lake: Lake, table: Table, dates: Dates) -> Finding | None:
    location = lake.location(table)
    with explain_storage_errors(location):
        problem = find_data_damage(location)
    if problem is None:
        return None
    commands = [] if table in RAW else _rebuild_steps(table, location, dates)[1]
    return Finding(ERROR, table.path, problem, "files that can be read", "Follow the error message.", commands)


def _balance(lake: Lake, table: Table, dates: Dates) -> Finding | None:
    beyond = -missing(lake, table)
    raw = RAW_OF[table.name]
    if beyond <= 0:
        # The check `keeps_up` reports versions that wait to be derived.
        return None
    return Finding(
        ERROR,
        raw.path,
        f"{beyond:,} versions fewer than {table.path} and its quarantine account for",
        "at least as many",
        f"Raw has lost rows. {mending.FROM_BACKUP} Without a backup, capture them again from the shop. "
        f"{mending.OVERWRITTEN}",
        mending.remake(raw, dates),
    )


def _numbers(versions: Sequence[int]) -> str:
    return _in_short([str(version) for version in versions])


def _in_short(names: Sequence[str]) -> str:
    """Return the first of some names, and the number of further ones."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
