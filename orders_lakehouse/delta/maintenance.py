"""Maintenance of a table: select files to compact, shorten its log, remove files that no kept version needs.

No row changes. Each step commits like any other writer; after a conflict it leaves the work to the next maintenance.
Versions and all of their files are kept for as many days as the settings say. `compaction.py` rewrites the files;
callers decide which tables are maintained and when.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from pyarrow import fs

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta import object_store, table_cache
from orders_lakehouse.delta.compaction import compact
from orders_lakehouse.delta.log import KEPT_FROM, find
from orders_lakehouse.delta.log_files import CHECKPOINT, COMMIT, LOG, log_files
from orders_lakehouse.delta.storage_errors import explain_storage_errors
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake

log = logging.getLogger(__name__)

# Size of a file in bytes that is large enough; writers make files of at most twice that size.
_ENOUGH_BYTES = 50_000_000
# Rows in memory at once, and rows of one commit. Commits are large because a writer of many dates has to begin again
# after each commit that conflicts with it.
_ROWS, _ROWS_OF_COMMIT = 250_000, 2_000_000
# Attempts at dates whose compaction met a conflict.
_ATTEMPTS = 3
# Most commits that a reader reads after the last checkpoint. Tables of this package write checkpoints themselves.
_COMMITS = 10
# Delta's default retention of a log, in days.
_DELTA_DAYS = 30
_LOG_RETENTION = "delta.logRetentionDuration"
# Longest time between the writing of a file and the commit that names it.
_WRITING = timedelta(days=1)


@dataclass(frozen=True)
class Stored:
    """The space that a table takes.

    Attributes:
        files: Number of files with rows of the latest version.
        bytes: Size of these files.
        files_in_all: Number of all files, including those of older versions and of interrupted writers.
        bytes_in_all: Size of all files and of the log.
        log_entries: Number of commits and checkpoints in the log.
    """

    files: int
    bytes: int
    files_in_all: int
    bytes_in_all: int
    log_entries: int


@dataclass(frozen=True)
class Maintained:
    """The outcome of the maintenance of a table.

    Attributes:
        before: Space that it took before.
        after: Space that it takes now.
        compacted: Number of partitions with fewer files now; 1 for a table without partitions.
        left: Number of partitions left unchanged, because other writers were faster.
        removed: Number of removed files, which no kept version needs.
    """

    before: Stored
    after: Stored
    compacted: int
    left: int
    removed: int


def maintain_table(lake: Lake, table: Table, days: int) -> Maintained | None:
    """Maintain a table.

    Args:
        lake: The lake.
        table: Any of its tables.
        days: Days for which old versions stay readable, also for readers that follow the table.

    Returns:
        The outcome; None if the table does not exist.

    Raises:
        LakeError: The table does not fit this program, or its storage cannot be used.
        StorageUnavailableError: Its storage does not answer.
    """
    if find(lake, table) is None:
        return None
    # Opening refuses a table with another time zone, or one of a newer program.
    lake.open(table)
    location = lake.location(table)
    with explain_storage_errors(location):
        before = _stored(location, table)
        _keep_log(table_cache.open_own(location), days)
        compacted, left = _compact(location, table)
        removed = _remove_old_files(location, days)
        _shorten_log(location)
        return Maintained(before, _stored(location, table), compacted, left, removed)


def _stored(location: str, table: Table) -> Stored:
    stored = _files(location)
    of_log = [file for file in stored if file.path.startswith(f"{LOG}/")]
    entries = [file for file in of_log if COMMIT.fullmatch(file.base_name) or CHECKPOINT.fullmatch(file.base_name)]
    files = files_of(table_cache.open_own(location), table)
    return Stored(
        files=files.height,
        bytes=int(files["bytes"].sum()),
        files_in_all=len(stored) - len(of_log),
        bytes_in_all=sum(file.size for file in stored),
        log_entries=len(entries),
    )


def _files(location: str) -> list[fs.FileInfo]:
    listed = object_store.files_at(location).get_file_info(fs.FileSelector("", recursive=True))
    return [file for file in listed if file.type == fs.FileType.File]


def _keep_log(handle: DeltaTable, days: int) -> None:
    """Set the log's retention to that of the versions; only a changed value is set, because it disturbs writers."""
    retention = f"interval {days} days"
    if handle.metadata().configuration.get(_LOG_RETENTION, f"interval {_DELTA_DAYS} days") == retention:
        return
    try:
        handle.alter.set_table_properties({_LOG_RETENTION: retention})
    except CommitFailedError as error:
        log.info("another writer was faster, the log of %s is kept as long as before: %s", handle.table_uri, error)


def _compact(location: str, table: Table) -> tuple[int, int]:
    """Rewrite the partitions that have too many files; return how many were rewritten, and how many were left."""
    compacted = 0
    for _ in range(_ATTEMPTS):
        # Partitions are listed anew for each attempt, because another writer may have rewritten some.
        for groups in _too_many_files(table_cache.open_own(location), table):
            handle = table_cache.open_own(location)
            if compact(handle, table, groups):
                table_cache.share(location, handle)
                compacted += _partitions(groups)
        left = sum(map(_partitions, _too_many_files(table_cache.open_own(location), table)))
        if not left:
            break
    return compacted, left


def _partitions(groups: Sequence[Sequence[date]]) -> int:
    return sum(map(len, groups)) or 1


def _too_many_files(handle: DeltaTable, table: Table) -> Iterator[Sequence[Sequence[date]]]:
    """Yield for each commit the dates with too many files, in groups that fit into memory; no group without dates."""
    size = [pl.col("rows").sum(), pl.col("bytes").sum(), pl.len().alias("files")]
    sizes = files_of(handle, table).group_by("date").agg(size).sort("date")
    small = sizes.filter(pl.col("files") > 1 + pl.col("bytes") // _ENOUGH_BYTES)
    if table.partitioned_by is None:
        yield from [[] for _ in range(small.height)]
        return
    rows = pl.col("rows").cum_sum()
    numbered = small.with_columns(group=rows // _ROWS, commit=rows // _ROWS_OF_COMMIT)
    groups = numbered.group_by("commit", "group", maintain_order=True).agg("date")
    for of_commit in groups.partition_by("commit", maintain_order=True):
        yield of_commit["date"].to_list()


def _remove_old_files(location: str, days: int) -> int:
    """Remove files that no kept version needs; return their number.

    Vacuum removes files by their age when the log no longer names them, and the log forgets removed files after a week.
    Age alone would remove files of versions younger than `days`. So vacuum is told to keep the files of the oldest kept
    version; files that later versions added are younger.
    """
    handle = table_cache.open_own(location)
    oldest = _in_force(location, datetime.now(UTC) - timedelta(days=days))
    hours = int((timedelta(days=days) + _WRITING) / timedelta(hours=1))
    vacuum = partial(handle.vacuum, retention_hours=hours, full=True, keep_versions=[oldest])
    if not vacuum(dry_run=True):
        return 0
    # The claim lets only one of two concurrent calls go on; otherwise both would remove the same files.
    claim = CommitProperties(app_transactions=[Transaction(KEPT_FROM, oldest)])
    try:
        return len(vacuum(dry_run=False, commit_properties=claim))
    except CommitFailedError as error:
        log.info("another writer was faster, old files of %s stay for now: %s", handle.table_uri, error)
        return 0


def _in_force(location: str, instant: datetime) -> int:
    """Return the latest version as of an instant, or the first that is left, from the files of the log alone."""
    commits = log_files(location).written
    return max((version for version, at in commits.items() if at <= instant), default=min(commits))


def _shorten_log(location: str) -> None:
    """Write a checkpoint if the last one is old, and remove entries of the log that no kept version needs."""
    handle = table_cache.open_own(location)
    if handle.version() - log_files(location).begins_at >= _COMMITS:
        handle.create_checkpoint()
    handle.cleanup_metadata()
