"""The log of a Delta table: its extent, its versions, the runs that committed them, and what they were made from.

No function here creates a table or reads its rows. `log_files.py` reads the log as files; `table_files.py` lists the
files of one version.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import chain, islice, takewhile
from typing import Any, NamedTuple

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.dates import days
from orders_lakehouse.delta.compaction import COMPACTED, last_compaction
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.storage_errors import explain_storage_errors
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake

# Number of commits that are read first, and the factor for each further read. A run mostly finds its own commit among
# the first. The number is small because the commit of a long backfill is large.
_RECENT, _MORE = 2, 10
# Largest difference between the clocks of two writers.
_SKEW = timedelta(minutes=1)
_DAY = timedelta(days=1)
# Name of the transaction in the log that says from which version on all files are kept.
KEPT_FROM = "kept_from"
# Operations that maintenance commits, in addition to compactions.
_MAINTENANCE = {"VACUUM START", "VACUUM END", "SET TBLPROPERTIES"}


@dataclass(frozen=True)
class Extent:
    """The rows and dates of a table.

    Attributes:
        rows: Number of rows.
        dates: Number of partitions that have rows; None where the table has no dates.
        first: First date that has rows.
        last: Last date that has rows.
        version: Version of the table.
        changed_at: Instant of the last commit that wrote rows, in UTC; maintenance writes none.
    """

    rows: int
    dates: int | None
    first: date | None
    last: date | None
    version: int
    changed_at: datetime


def find(lake: Lake, table: Table) -> DeltaTable | None:
    """Open a table at its latest version; return None if it does not exist yet."""
    try:
        return lake.find(table)
    except TableNotFoundError:
        return None


def extent(handle: DeltaTable, table: Table) -> Extent:
    """Return the extent of a table at the version of its handle."""
    # If the log holds only maintenance commits, the oldest one is the closest answer.
    for commit in chain.from_iterable(_history(handle)):
        changed_at = _instant(commit["timestamp"])
        if not _is_maintenance(commit):
            break
    files = files_of(handle, table)
    dates = files["date"].n_unique() if table.partitioned_by else None
    first, last = files.select(pl.col("date").min().alias("first"), pl.col("date").max().alias("last")).row(0)
    return Extent(int(files["rows"].sum()), dates, first, last, handle.version(), changed_at)


def first_and_last_date(lake: Lake, tables: Sequence[Table]) -> tuple[date, date] | None:
    """Return the first and the last date on which any of the tables has rows, from their logs; None without rows."""
    handles = [(handle, table) for table in tables if (handle := find(lake, table)) is not None]
    dates = [files_of(handle, table)["date"].drop_nulls() for handle, table in handles]
    known = pl.concat(dates) if dates else pl.Series(dtype=pl.Date)
    first, last = known.min(), known.max()
    return (first, last) if isinstance(first, date) and isinstance(last, date) else None


class Part(NamedTuple):
    """Dates of a table (None: it has no dates), and the state of the lake for the run that derived them."""

    lake: Lake
    dates: tuple[date, date] | None


def parts_of_run(
    lake: Lake, tables: Sequence[Table], run_id: str, started: datetime, dates: tuple[date, date] | None
) -> list[Part]:
    """Return the state of the lake that a run has read and written, without later captures and derivations.

    Args:
        lake: The lake.
        tables: Tables that the run replaced together.
        run_id: The run.
        started: Instant at which the run started; earlier commits are not its own.
        dates: First and last date of the run; None where the tables have none.

    Returns:
        The dates in order, in as few spans as there are states of the lake. In each state, the tables have the versions
        that the run wrote, and their inputs have the versions that it read. Dates that the run did not replace are seen
        at the latest versions.
    """
    versions: dict[tuple[date, date] | None, dict[str, int]] = {}
    for table in tables:
        for span, commit in _replaced_by(lake, table, run_id, started, dates).items():
            versions.setdefault(span, {}).update({**json.loads(commit["read"]), table.path: int(commit["version"])})
    if dates is None:
        return [Part(lake.source(versions.get(None)), None)]
    spans = list(_covering(dates, [span for span in versions if span is not None]))
    if all(span in versions for span in spans) and _is_only_writer(list(versions.values()), tables):
        latest = {path: max(of.get(path, 0) for of in versions.values()) for of in versions.values() for path in of}
        return [Part(lake.source(latest), dates)]
    return [Part(lake.source(versions.get(span)), span) for span in spans]


def _is_only_writer(commits: Sequence[Mapping[str, int]], tables: Sequence[Table]) -> bool:
    """Return whether only the run wrote between its first and its last commit; then the last state serves all dates."""
    written = {table.path for table in tables}
    seen = {path: {of[path] for of in commits if path in of} for of in commits for path in of}
    return all(
        max(versions) - min(versions) == (len(commits) - 1 if path in written else 0) for path, versions in seen.items()
    )


def _replaced_by(
    lake: Lake, table: Table, run_id: str, started: datetime, dates: tuple[date, date] | None
) -> dict[tuple[date, date] | None, dict[str, Any]]:
    """Return the last commit of a run for each span that it replaced; the log is read only as far as needed."""
    last_commits: dict[tuple[date, date] | None, dict[str, Any]] = {}
    missing = 1 if dates is None else len(days(*dates))
    for commit in _commits_of(lake, table, run_id, started):
        span = _span(commit)
        if span not in last_commits:
            last_commits[span] = commit
            missing -= len(days(*span)) if span else 1
            if missing <= 0:
                break
    return last_commits


def _span(commit: Mapping[str, Any]) -> tuple[date, date] | None:
    """Return the first and last date that a commit replaced; None for a table without dates."""
    bounds = json.loads(commit["dates"])
    return (date.fromisoformat(bounds[0]), date.fromisoformat(bounds[1])) if bounds else None


def _covering(dates: tuple[date, date], spans: Sequence[tuple[date, date]]) -> Iterator[tuple[date, date]]:
    """Yield the spans in order, and between them the spans of the remaining dates."""
    begin, end = dates
    for first, last in sorted(spans):
        if begin < first:
            yield begin, first - _DAY
        yield first, last
        begin = last + _DAY
    if begin <= end:
        yield begin, end


def dates_changed_by(lake: Lake, table: Table, run_id: str, started: datetime) -> set[date]:
    """Return the dates of a table whose rows a run changed; the run started at `started`."""
    commits = _commits_of(lake, table, run_id, started)
    changed_spans = [span for commit in commits for span in json.loads(commit["changed"])]
    return {day for first, last in changed_spans for day in days(date.fromisoformat(first), date.fromisoformat(last))}


def _commits_of(lake: Lake, table: Table, run_id: str, started: datetime) -> Iterator[dict[str, Any]]:
    """Yield the commits of a run to a table, the latest first; the log is read only as far as needed."""
    for commits in _history(lake.open(table)):
        yield from (commit for commit in commits if commit.get("run_id") == run_id)
        if _instant(commits[-1]["timestamp"]) < started - _SKEW:
            return


def _history(handle: DeltaTable) -> Iterator[list[dict[str, Any]]]:
    """Yield the commits of a table, the latest first, in growing groups, so that little of the log is read."""
    read, limit = 0, _RECENT
    while True:
        with explain_storage_errors(handle.table_uri):
            commits = handle.history(limit=limit)
        if len(commits) > read:
            yield commits[read:]
        if len(commits) < limit:
            return
        read, limit = limit, limit * _MORE


def _is_maintenance(commit: Mapping[str, Any]) -> bool:
    return COMPACTED in commit or commit["operation"] in _MAINTENANCE


def oldest_kept_version(handle: DeltaTable) -> int:
    """Return the oldest version whose files are all kept; files of older versions may have been removed."""
    with explain_storage_errors(handle.table_uri):
        return handle.transaction_version(KEPT_FROM) or 0


def version_derived_from(handle: DeltaTable, source: DeltaTable, table: Table) -> int | None:
    """Return the version of a source table that the last commit of another table was made from.

    Args:
        handle: The table that was made.
        source: The table that it was made from, at its latest version.
        table: The source table.

    Returns:
        A version of `source`; None if no commit names it, or if a new table has its name now.
    """
    for commit in chain.from_iterable(_history(handle)):
        if "read" in commit and int(commit["version"]) <= handle.version():
            read, ids = (json.loads(commit.get(key, "{}")) for key in ("read", "ids"))
            return read.get(table.path) if ids.get(table.path) == str(source.metadata().id) else None
    return None


class Derivation(NamedTuple):
    """A commit that made rows of a table, with the versions of other tables that it read.

    Attributes:
        at: Instant of the commit.
        dates: First and last date that it made; None for a table without dates.
        read: Version of each table that was read, by path.
        ids: Id of each table that was read, by path.
    """

    at: datetime
    dates: tuple[date, date] | None
    read: Mapping[str, int]
    ids: Mapping[str, str]


def derivations(handle: DeltaTable, most: int) -> Iterator[Derivation]:
    """Yield the commits of a table that read other tables, the latest first.

    Args:
        handle: The table.
        most: Most commits that are read.
    """
    for commit in islice(chain.from_iterable(_history(handle)), most):
        if "read" in commit and int(commit["version"]) <= handle.version():
            read, ids = json.loads(commit["read"]), json.loads(commit.get("ids", "{}"))
            yield Derivation(_instant(commit["timestamp"]), _span(commit), read, ids)


def dates_changed_since(lake: Lake, handle: DeltaTable, table: Table, version: int) -> list[date] | None:
    """Return the dates whose files differ from those of an older version; files that were only rewritten do not count.

    Args:
        lake: The lake.
        handle: The table, at its newer version.
        table: The table, with dates.
        version: The older version.

    Returns:
        The dates in order; None if the older version or its files are no longer kept.
    """
    try:
        if version < oldest_kept_version(handle):
            return None
        edges = _around_compactions(lake, handle, table, lake.find(table, version))
    except DeltaError:
        return None
    dates: set[date] = set()
    for before, after in edges:
        then, now = files_of(before, table), files_of(after, table)
        dates.update(then.join(now, on="path", how="anti")["date"], now.join(then, on="path", how="anti")["date"])
    return sorted(dates)


def _around_compactions(
    lake: Lake, handle: DeltaTable, table: Table, since: DeltaTable
) -> list[tuple[DeltaTable, DeltaTable]]:
    """Return spans of versions from `since` to `handle`, without the commits that only rewrote files."""
    if last_compaction(since) == last_compaction(handle):
        return [(since, handle)]
    commits = chain.from_iterable(_history(handle))
    newer = takewhile(lambda commit: int(commit["version"]) > since.version(), commits)
    begins = [since]
    ends = []
    for version in sorted(int(commit["version"]) for commit in newer if COMPACTED in commit):
        ends.append(lake.find(table, version - 1))
        begins.append(lake.find(table, version))
    edges = zip(begins, [*ends, handle], strict=True)
    return [(first, last) for first, last in edges if first.version() != last.version()]


def at(lake: Lake, table: Table, version: int | None, as_of: datetime | None) -> DeltaTable:
    """Open a table at a version, or at the latest version as of an instant; without either, at its latest version.

    Raises:
        TableNotFoundError: The table does not exist.
        LakeError: The version does not exist; the message says which versions do.
    """
    handle = lake.find(table)
    if version is None and as_of is None:
        return handle
    with explain_storage_errors(handle.table_uri):
        commits = {int(commit["version"]): _instant(commit["timestamp"]) for commit in handle.history()}
    kept = oldest_kept_version(handle)
    committed = {number: instant for number, instant in commits.items() if number >= kept}
    first, last = min(committed), max(committed)
    if as_of is not None:
        version = max((number for number, instant in committed.items() if instant <= as_of), default=None)
    if version is None:
        raise LakeError(
            f"{table.path} has no version as of {as_of:%Y-%m-%dT%H:%M:%SZ}; its first one, {first}, "
            f"is of {committed[first]:%Y-%m-%dT%H:%M:%SZ}"
        )
    if version not in committed:
        raise LakeError(f"{table.path} has no version {version}; its versions are {first} to {last}")
    return lake.find(table, version)


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
