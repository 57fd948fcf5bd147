"""What the log of a Delta table says: its extent, its versions, who committed them, and what they were made from.

Nothing here makes a table or reads its rows. The log as files is `log_files.py`; the files that one version names are
`table_files.py`.
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
from orders_lakehouse.delta.storage_errors import storage_trouble
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake

# Commits that are read first, among which a run at work mostly finds its own; and by how many times more are read next.
# The commit of a long backfill is large, so nothing is read in advance.
_RECENT, _MORE = 2, 10
# Time by which the clocks of two writers differ at most.
_SKEW = timedelta(minutes=1)
_DAY = timedelta(days=1)
# Name under which the log says from which version on the files of all versions are kept.
KEPT_FROM = "kept_from"
# Operations that maintenance commits beside the files that it rewrites.
_MAINTENANCE = {"VACUUM START", "VACUUM END", "SET TBLPROPERTIES"}


@dataclass(frozen=True)
class Extent:
    """What a table holds.

    Attributes:
        rows: Number of rows.
        dates: Number of partitions that have rows; None where the table has no dates.
        first: First date that has rows.
        last: Last date that has rows.
        version: Version of the table.
        changed_at: When its rows were written last, in UTC; maintenance changes none.
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
    """Return what a table holds at the version of its handle."""
    # If the log holds only maintenance commits, the oldest is the nearest.
    for commit in chain.from_iterable(_history(handle)):
        changed_at = _instant(commit["timestamp"])
        if not _is_maintenance(commit):
            break
    files = files_of(handle, table)
    dates = files["date"].n_unique() if table.partitioned_by else None
    first, last = files.select(pl.col("date").min().alias("first"), pl.col("date").max().alias("last")).row(0)
    return Extent(int(files["rows"].sum()), dates, first, last, handle.version(), changed_at)


def first_and_last_date(lake: Lake, tables: Sequence[Table]) -> tuple[date, date] | None:
    """The first and the last date on which any of some tables has rows, from their logs; None where none has any."""
    handles = [(handle, table) for table in tables if (handle := find(lake, table)) is not None]
    dates = [files_of(handle, table)["date"].drop_nulls() for handle, table in handles]
    known = pl.concat(dates) if dates else pl.Series(dtype=pl.Date)
    first, last = known.min(), known.max()
    return (first, last) if isinstance(first, date) and isinstance(last, date) else None


class Part(NamedTuple):
    """Some dates of a table (None: it has no dates), and the lake as whoever derived them found and left it."""

    lake: Lake
    dates: tuple[date, date] | None


def parts_of_run(
    lake: Lake, tables: Sequence[Table], run_id: str, started: datetime, dates: tuple[date, date] | None
) -> list[Part]:
    """The lake as a run found and left it: what was captured or derived since is not seen.

    Args:
        lake: The lake.
        tables: Tables that the run replaced together.
        run_id: The run.
        started: When the run started: what was committed before is none of its work.
        dates: First and last date of the run; None where the tables have none.

    Returns:
        In order, the dates in as few stretches as have one state of the lake: with the tables at the versions that the
        run left, and what it read for them at those that it read. Dates that it did not replace are seen as they are.
    """
    versions: dict[tuple[date, date] | None, dict[str, int]] = {}
    for table in tables:
        for span, commit in _replaced_by(lake, table, run_id, started, dates).items():
            versions.setdefault(span, {}).update({**json.loads(commit["read"]), table.path: int(commit["version"])})
    if dates is None:
        return [Part(lake.source(versions.get(None)), None)]
    stretches = list(_covering(dates, [span for span in versions if span is not None]))
    if all(span in versions for span in stretches) and _nobody_else(list(versions.values()), tables):
        latest = {path: max(of.get(path, 0) for of in versions.values()) for of in versions.values() for path in of}
        return [Part(lake.source(latest), dates)]
    return [Part(lake.source(versions.get(span)), span) for span in stretches]


def _nobody_else(commits: Sequence[Mapping[str, int]], tables: Sequence[Table]) -> bool:
    """Whether nobody but the run wrote anything from its first commit to its last: the last state tells of all."""
    written = {table.path for table in tables}
    seen = {path: {of[path] for of in commits if path in of} for of in commits for path in of}
    return all(
        max(versions) - min(versions) == (len(commits) - 1 if path in written else 0) for path, versions in seen.items()
    )


def _replaced_by(
    lake: Lake, table: Table, run_id: str, started: datetime, dates: tuple[date, date] | None
) -> dict[tuple[date, date] | None, dict[str, Any]]:
    """The last commit of a run for each stretch of dates that it replaced; no more of the log is read than is asked."""
    found: dict[tuple[date, date] | None, dict[str, Any]] = {}
    missing = 1 if dates is None else len(days(*dates))
    for commit in _commits_of(lake, table, run_id, started):
        said = json.loads(commit["dates"])
        span = (date.fromisoformat(said[0]), date.fromisoformat(said[1])) if said else None
        if span not in found:
            found[span] = commit
            missing -= len(days(*span)) if span else 1
            if missing <= 0:
                break
    return found


def _covering(dates: tuple[date, date], stretches: Sequence[tuple[date, date]]) -> Iterator[tuple[date, date]]:
    """The stretches in order, and what of the dates lies between them."""
    begin, end = dates
    for first, last in sorted(stretches):
        if begin < first:
            yield begin, first - _DAY
        yield first, last
        begin = last + _DAY
    if begin <= end:
        yield begin, end


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


def _is_maintenance(commit: Mapping[str, Any]) -> bool:
    return COMPACTED in commit or commit["operation"] in _MAINTENANCE


def kept_from(handle: DeltaTable) -> int:
    """The first version whose files are kept, all of them; files of older ones may have been removed."""
    with storage_trouble(handle.table_uri):
        return handle.transaction_version(KEPT_FROM) or 0


def made_from(handle: DeltaTable, source: DeltaTable, table: Table) -> int | None:
    """From which version of another table a table was made last.

    Args:
        handle: The table that was made.
        source: The table that it was made from, as it is now.
        table: The latter.

    Returns:
        A version of `source`; None when nothing is known of it, or when it is another table of the same name by now.
    """
    for commit in chain.from_iterable(_history(handle)):
        if "read" in commit and int(commit["version"]) <= handle.version():
            read, ids = (json.loads(commit.get(told, "{}")) for told in ("read", "ids"))
            return read.get(table.path) if ids.get(table.path) == str(source.metadata().id) else None
    return None


class Made(NamedTuple):
    """What a commit that made rows of a table read of others.

    Attributes:
        at: When it was committed.
        dates: First and last of the dates that it made; None for a table without dates.
        read: Version of each table that was read, by path.
        ids: Id of each of them, by path.
    """

    at: datetime
    dates: tuple[date, date] | None
    read: Mapping[str, int]
    ids: Mapping[str, str]


def made_of(handle: DeltaTable, most: int) -> Iterator[Made]:
    """What the rows of a table were made of, by its commits that read others, the latest first.

    Args:
        handle: The table.
        most: So many commits are read at most.
    """
    for commit in islice(chain.from_iterable(_history(handle)), most):
        if "read" in commit and int(commit["version"]) <= handle.version():
            said = json.loads(commit["dates"])
            dates = (date.fromisoformat(said[0]), date.fromisoformat(said[1])) if said else None
            yield Made(
                _instant(commit["timestamp"]), dates, json.loads(commit["read"]), json.loads(commit.get("ids", "{}"))
            )


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
