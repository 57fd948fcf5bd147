"""What the log of a Delta table says: its extent, its versions. Nothing here makes a table or reads its rows."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import chain, islice, takewhile
from typing import Any

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from orders_lakehouse.contracts.tables import Table
from orders_lakehouse.dates import days
from orders_lakehouse.lake.delta import COMPACTED, Lake, Snapshot, files_of, last_compaction
from orders_lakehouse.lake.storage import LakeError
from orders_lakehouse.lake.trouble import storage_trouble

# Commits among which a run that is still at work finds its own, as a rule; if not, so many times as many are read. The
# commit of a long backfill is large, so nothing is read in advance.
_RECENT, _MORE = 2, 10
# The clocks of those who commit differ by less.
_SKEW = timedelta(minutes=1)
# Under this name the log says from which version on the files of all versions are kept.
KEPT_FROM = "kept_from"
# What care of a table commits beside the files that it rewrites.
_CARE = {"VACUUM START", "VACUUM END", "SET TBLPROPERTIES"}


@dataclass(frozen=True)
class Extent:
    """What a table holds.

    Attributes:
        rows: Number of rows.
        dates: Number of partitions that have rows; None where the table has no dates.
        first: First date that has rows.
        last: Last date that has rows.
        version: Version of the table.
        changed_at: When its rows were written last, in UTC; to be cared for changes none.
    """

    rows: int
    dates: int | None
    first: date | None
    last: date | None
    version: int
    changed_at: datetime


def find(lake: Lake, table: Table) -> DeltaTable | None:
    """Open a table at its latest version; None when nobody has made it yet."""
    try:
        return lake.find(table)
    except TableNotFoundError:
        return None


def extent(handle: DeltaTable, table: Table) -> Extent:
    """What a table holds at the version of its handle."""
    # Of a table that has long been cared for alone, the log may have nothing else: then its oldest entry is nearest.
    for commit in chain.from_iterable(_history(handle)):
        changed_at = _instant(commit["timestamp"])
        if not _is_of_care(commit):
            break
    files = files_of(handle, table)
    dates = files["date"].n_unique() if table.partitioned_by else None
    first, last = files.select(pl.col("date").min().alias("first"), pl.col("date").max().alias("last")).row(0)
    return Extent(int(files["rows"].sum()), dates, first, last, handle.version(), changed_at)


def as_of_run(lake: Lake, tables: Sequence[Table], run_id: str, started: datetime) -> Snapshot:
    """The lake as a run found and left it: what was captured or derived since is not seen.

    Args:
        lake: The lake.
        tables: Tables that the run replaced.
        run_id: The run; of one that committed nothing to a table, the table is seen as it is.
        started: When the run started: what was committed before is none of its work.

    Returns:
        The lake with these tables at the versions that the run left, and what it read for them at those that it read.
    """
    versions: dict[str, int] = {}
    for table in tables:
        for commit in islice(_commits_of(lake, table, run_id, started), 1):
            versions |= {**json.loads(commit["read"]), table.path: int(commit["version"])}
    return lake.snapshot(versions)


def dates_changed_by(lake: Lake, table: Table, run_id: str, started: datetime) -> set[date]:
    """Dates of a table that came out otherwise than they stood when a run, which started then, replaced them."""
    commits = _commits_of(lake, table, run_id, started)
    stretches = [stretch for commit in commits for stretch in json.loads(commit["changed"])]
    return {day for first, last in stretches for day in days(date.fromisoformat(first), date.fromisoformat(last))}


def _commits_of(lake: Lake, table: Table, run_id: str, started: datetime) -> Iterator[dict[str, Any]]:
    """The commits by which a run replaced dates of a table, the latest first; no more of the log is read than asked."""
    for commits in _history(lake.open(table)):
        yield from (commit for commit in commits if commit.get("run_id") == run_id)
        if _instant(commits[-1]["timestamp"]) < started - _SKEW:
            return


def _history(handle: DeltaTable) -> Iterator[list[dict[str, Any]]]:
    """The commits of a table, the latest first, in growing groups: no more of the log is read than is asked for."""
    read, limit = 0, _RECENT
    while True:
        with storage_trouble(handle.table_uri):
            commits = handle.history(limit=limit)
        if len(commits) > read:
            yield commits[read:]
        if len(commits) < limit:
            return
        read, limit = limit, limit * _MORE


def _is_of_care(commit: Mapping[str, Any]) -> bool:
    return COMPACTED in commit or commit["operation"] in _CARE


def kept_from(handle: DeltaTable) -> int:
    """The first version whose files are kept, all of them; files of older ones may have been removed."""
    with storage_trouble(handle.table_uri):
        return handle.transaction_version(KEPT_FROM) or 0


def dates_changed_since(lake: Lake, handle: DeltaTable, table: Table, version: int) -> list[date] | None:
    """Dates whose files are others than at an older version; files that were only rewritten are the same.

    Args:
        lake: The lake.
        handle: The table, as it is now.
        table: The table, with dates.
        version: The older version.

    Returns:
        In order; None when that version, or its files, are not kept any more.
    """
    try:
        if version < kept_from(handle):
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
    """Stretches of versions from `since` to `handle`, without the steps in which files were only rewritten."""
    if last_compaction(since) == last_compaction(handle):
        return [(since, handle)]
    commits = chain.from_iterable(_history(handle))
    newer = takewhile(lambda commit: int(commit["version"]) > since.version(), commits)
    begins = [since]
    ends = []
    for version in sorted(int(commit["version"]) for commit in newer if COMPACTED in commit):
        ends.append(lake.find(table, version - 1))
        begins.append(lake.find(table, version))
    stretches = zip(begins, [*ends, handle], strict=True)
    return [(first, last) for first, last in stretches if first.version() != last.version()]


def at(lake: Lake, table: Table, version: int | None, as_of: datetime | None) -> DeltaTable:
    """Open a table at a version, or at the one that was the latest at an instant; with neither at its latest one.

    Raises:
        TableNotFoundError: Nobody has made it.
        LakeError: There is no such version; the message says which there are.
    """
    handle = lake.find(table)
    if version is None and as_of is None:
        return handle
    with storage_trouble(handle.table_uri):
        commits = {int(commit["version"]): _instant(commit["timestamp"]) for commit in handle.history()}
    kept = kept_from(handle)
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
