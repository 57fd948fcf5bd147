"""Maintenance of a table: which small files become few, how its log stays short, and which files are removed.

No row changes. Each step commits beside other writers and readers as every writer does, or leaves things for the next
time. Versions, with all of their files, are kept for as many days as the settings say. How files become few is
`compaction.py`; which tables are maintained when is decided above this room.
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
from orders_lakehouse.delta.storage_errors import storage_trouble
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake

log = logging.getLogger(__name__)

# Size of a file that is large enough; writers make files of at most twice that size.
_ENOUGH_BYTES = 50_000_000
# Rows that are in memory at once as rows, and as files that are being written: those of one commit. A writer of many
# dates has to begin again for each commit that comes in between, so these are not few.
_ROWS, _ROWS_OF_COMMIT = 250_000, 2_000_000
# Attempts at dates that another writer was faster at.
_ATTEMPTS = 3
# Commits that opening a table reads at most; tables made here have checkpoints of their own.
_COMMITS = 10
# Delta's default retention of a log, in days.
_DELTA_DAYS = 30
_LOG_RETENTION = "delta.logRetentionDuration"
# Time that a file may have been there before the commit that names it.
_WRITING = timedelta(days=1)


@dataclass(frozen=True)
class Stored:
    """What a table takes.

    Attributes:
        files: Files that hold its rows.
        bytes: Their size.
        files_in_all: Files that are there, those of older versions and of writers that broke off too.
        bytes_in_all: Their size, with the log.
        log_entries: Commits and checkpoints of its log.
    """

    files: int
    bytes: int
    files_in_all: int
    bytes_in_all: int
    log_entries: int


@dataclass(frozen=True)
class Maintained:
    """What maintenance did for a table.

    Attributes:
        before: What it took before.
        after: What it takes.
        compacted: Partitions whose files became fewer; 1 for a table without partitions.
        left: Partitions that were left as they were, because other writers were faster.
        removed: Files removed that no version needs which is kept.
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
        days: Days for which versions of the table can be read, and readers that follow it may be behind.

    Returns:
        What was done; None when nobody has made the table.

    Raises:
        LakeError: The table is not as this program expects, or its storage cannot be used.
        StorageUnavailableError: Its storage does not answer.
    """
    if find(lake, table) is None:
        return None
    # Refuses a table of another time zone, or of a newer program.
    lake.open(table)
    location = lake.location(table)
    with storage_trouble(location):
        before = _stored(location, table)
        _keep_log(table_cache.own(location), days)
        compacted, left = _compact(location, table)
        removed = _remove_old_files(location, days)
        _shorten_log(location)
        return Maintained(before, _stored(location, table), compacted, left, removed)


def _stored(location: str, table: Table) -> Stored:
    there = _files(location)
    of_log = [file for file in there if file.path.startswith(f"{LOG}/")]
    entries = [file for file in of_log if COMMIT.fullmatch(file.base_name) or CHECKPOINT.fullmatch(file.base_name)]
    files = files_of(table_cache.own(location), table)
    return Stored(
        files=files.height,
        bytes=int(files["bytes"].sum()),
        files_in_all=len(there) - len(of_log),
        bytes_in_all=sum(file.size for file in there),
        log_entries=len(entries),
    )


def _files(location: str) -> list[fs.FileInfo]:
    there = object_store.files_at(location).get_file_info(fs.FileSelector("", recursive=True))
    return [file for file in there if file.type == fs.FileType.File]


def _keep_log(handle: DeltaTable, days: int) -> None:
    """Have the log kept as long as the versions are. Everybody who writes meanwhile begins again; it is said once."""
    due = f"interval {days} days"
    if handle.metadata().configuration.get(_LOG_RETENTION, f"interval {_DELTA_DAYS} days") == due:
        return
    try:
        handle.alter.set_table_properties({_LOG_RETENTION: due})
    except CommitFailedError as error:
        log.info("another writer was faster, the log of %s is kept as long as before: %s", handle.table_uri, error)


def _compact(location: str, table: Table) -> tuple[int, int]:
    """Rewrite the partitions that have too many files; returns how many were, and how many were left."""
    done = 0
    for _ in range(_ATTEMPTS):
        # Listed anew each time: what another writer or another maintenance has rewritten need not be again.
        for groups in _too_many_files(table_cache.own(location), table):
            handle = table_cache.own(location)
            if compact(handle, table, groups):
                table_cache.give(location, handle)
                done += _partitions(groups)
        left = sum(map(_partitions, _too_many_files(table_cache.own(location), table)))
        if not left:
            break
    return done, left


def _partitions(groups: Sequence[Sequence[date]]) -> int:
    return sum(map(len, groups)) or 1


def _too_many_files(handle: DeltaTable, table: Table) -> Iterator[Sequence[Sequence[date]]]:
    """Dates that have more files than they need, in groups that fit into memory, by commit; no group without dates."""
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
    """Remove what no version needs that is kept; returns how many files.

    Delta goes by the age of files that its log does not name any more. It forgets after a week which files were taken
    out of a table, so that age alone would take old files from versions that are younger than `days`. The files of the
    oldest version that is kept are therefore named to it; those of the others are younger than that version.
    """
    handle = table_cache.own(location)
    oldest = _in_force(location, datetime.now(UTC) - timedelta(days=days))
    hours = int((timedelta(days=days) + _WRITING) / timedelta(hours=1))
    vacuum = partial(handle.vacuum, retention_hours=hours, full=True, keep_versions=[oldest])
    if not vacuum(dry_run=True):
        return 0
    # Two who do this at once would remove the same files: of two that begin at once, one begins.
    claim = CommitProperties(app_transactions=[Transaction(KEPT_FROM, oldest)])
    try:
        return len(vacuum(dry_run=False, commit_properties=claim))
    except CommitFailedError as error:
        log.info("another writer was faster, old files of %s stay for now: %s", handle.table_uri, error)
        return 0


def _in_force(location: str, instant: datetime) -> int:
    """The version that was the latest at an instant, or the first one there is, by the files of the log alone."""
    commits = log_files(location).written
    return max((version for version, at in commits.items() if at <= instant), default=min(commits))


def _shorten_log(location: str) -> None:
    """Write a checkpoint, if the last one is far, and remove entries that no version needs that is kept."""
    handle = table_cache.own(location)
    if handle.version() - log_files(location).begins_at >= _COMMITS:
        handle.create_checkpoint()
    handle.cleanup_metadata()
