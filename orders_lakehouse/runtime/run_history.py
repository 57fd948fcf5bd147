"""Dagster's history: what goes of runs that are older than the newest ones.

Dagster has a public way to delete a run with all of its events, after which its dates show as missing. Here the events
that the UI needs of each asset and date stay. The order of the steps lets the next pruning finish one that was killed:
a run's row goes last, so that the run is found again.
"""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg

# Dagster's tables: the storage has no public way to delete a part of a run's events, or to count ticks.
from dagster._core.execution.backfill import BulkActionStatus
from dagster._core.instance.utils import RUNLESS_RUN_ID
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.storage.event_log import SqlEventLogStorage, SqlEventLogStorageTable, SqliteEventLogStorage
from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable, AssetEventTagsTable
from dagster._core.storage.local_compute_log_manager import LocalComputeLogManager
from dagster._core.storage.schedules import SqlScheduleStorage
from dagster._core.storage.schedules.schema import JobTickTable
from sqlalchemy import func, select

from orders_lakehouse.runtime.event_log import KeptSqliteEventLogStorage
from orders_lakehouse.runtime.retention import (
    ATTEMPTED,
    MATERIALIZED,
    OBSERVED,
    NewestEvent,
    files_and_bytes,
    is_abandoned,
    leftover_files,
    needed_events,
    remove,
)

_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_UNFINISHED = [status for status in dg.DagsterRunStatus if status not in _FINISHED]
_UNFINISHED_BACKFILLS = (BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING)
_BACKFILL_TAG = "dagster/backfill"
# Runs whose events are looked at together, and rows that one transaction deletes: others who write wait for it.
_RUNS, _ROWS = 100, 500
# Evaluations that are looked at together.
_SCANNED = 50_000
# Ticks are counted apart where most are skipped, or they would push out those that asked for runs.
_TICKS = ((TickStatus.SKIPPED,), (TickStatus.SUCCESS, TickStatus.FAILURE))
# A file of SQLite is written anew when so much of it is free.
_FREE_SHARE, _FREE_BYTES = 0.25, 1_000_000
_EVENTS, _CHECKS, _TAGS = SqlEventLogStorageTable.c, AssetCheckExecutionsTable.c, AssetEventTagsTable.c


@dataclass
class Pruned:
    """What went, or would go.

    Attributes:
        runs: Runs that Dagster forgets.
        trimmed: Runs that stay for an event of theirs, and lose the others.
        events: Events in the index of all runs.
        evaluations: Evaluations of checks.
        ticks: Ticks of sensors and schedules.
        files: Files: event logs of single runs, what runs printed, artifacts of dbt, leftovers of killed processes.
        bytes: Size of the files and of the rows, as far as it is known.
        oldest: When the oldest of the runs was created that keep everything; None while none is older.
    """

    runs: int = 0
    trimmed: int = 0
    events: int = 0
    evaluations: int = 0
    ticks: int = 0
    files: int = 0
    bytes: int = 0
    oldest: datetime | None = None


@dataclass
class _Pruning:
    instance: dg.DagsterInstance
    dry_run: bool
    done: Pruned = field(default_factory=Pruned)

    def count_bytes(self, rows: Sequence[Any]) -> None:
        self.done.bytes += sum(row.bytes or 0 for row in rows)

    def remove(self, path: Path) -> None:
        """Count the files at a path, and remove them."""
        files, size = files_and_bytes(path) if path.exists() else (0, 0)
        self.done.files += files
        self.done.bytes += size
        if not self.dry_run:
            remove(path)

    def delete(self, column: Any, ids: Iterable[int]) -> None:
        """Delete the rows of a table of the index that have one of some values in a column."""
        storage = _sql_storage(self.instance)
        if not self.dry_run:
            for some in _batches(ids, _ROWS):
                with storage.index_connection() as connection:
                    connection.execute(column.table.delete().where(column.in_(some)))


def prune_history(
    instance: dg.DagsterInstance, keep: int, named: Collection[str] = (), *, dry_run: bool = False
) -> Pruned:
    """Remove what is not needed of all but the newest runs, and files that belong to no run.

    Runs may be at work meanwhile, and another pruning, too.

    Args:
        instance: Dagster's instance, whose storage is SQLite or Postgres.
        keep: How many of the newest runs keep everything; and how many of the newest ticks each sensor and schedule.
        named: Ids of older runs that keep everything, because somebody is told to look at them.
        dry_run: Change nothing, and count only.

    Returns:
        What went, or would go.
    """
    pruning = _Pruning(instance, dry_run)
    newest = instance.get_run_records(limit=keep)
    runs = [record.dagster_run for record in newest]
    whole = {
        *named,
        *(run_id for run in runs for run_id in (run.run_id, run.root_run_id, run.parent_run_id) if run_id),
        *instance.get_run_ids(dg.RunsFilter(statuses=_UNFINISHED)),
        *_of_unfinished_backfills(instance),
    }
    old: list[str] = []
    if len(newest) == keep:
        pruning.done.oldest = newest[-1].create_timestamp
        older = instance.get_run_ids(dg.RunsFilter(statuses=_FINISHED), cursor=runs[-1].run_id)
        # The oldest first: a pruning that is killed has taken from the end.
        old = [run_id for run_id in reversed(older) if run_id not in whole]
    # Dagster+ keeps its own history.
    if pruning.done.oldest and isinstance(instance.event_log_storage, SqlEventLogStorage):
        _prune_runs(pruning, old, pruning.done.oldest.astimezone(UTC).replace(tzinfo=None))
    _prune_files(pruning, whole, {*whole, *old})
    _prune_ticks(pruning, keep)
    return pruning.done


def shrink_files(instance: dg.DagsterInstance, run_id: str = "") -> int:
    """Give the free room in Dagster's SQLite files back, where there is much of it and nobody else is at work.

    Args:
        instance: Dagster's instance.
        run_id: The run that asks.

    Returns:
        Bytes given back.
    """
    unfinished = instance.get_run_ids(dg.RunsFilter(statuses=_UNFINISHED))
    if not isinstance(instance.event_log_storage, SqliteEventLogStorage) or set(unfinished) - {run_id}:
        return 0
    home = Path(instance.root_directory)
    shards = [Path(instance.event_log_storage.path_for_shard(shard)) for shard in ("index", RUNLESS_RUN_ID)]
    return sum(map(_shrink, [*shards, home / "history" / "runs.db", home / "schedules" / "schedules.db"]))


def _prune_runs(pruning: _Pruning, old: Sequence[str], before: datetime) -> None:
    """Remove what is not needed of old runs, and of what was reported before an instant (UTC) without a run."""
    storage = _sql_storage(pruning.instance)
    # Before the runs' rows, by which they are found.
    shown, lose_something = _prune_evaluations(pruning, frozenset(old), before)
    with storage.index_connection() as connection:
        needed = _needed_events(connection)
    _prune_runless(pruning, needed, before)
    for batch in _batches(old, _RUNS):
        size = func.length(_EVENTS.event).label("bytes")
        with storage.index_connection() as connection:
            events = connection.execute(
                select(_EVENTS.id, _EVENTS.run_id, size).where(_EVENTS.run_id.in_(batch))
            ).fetchall()
        dropped = [row for row in events if row.id not in needed]
        pruning.done.events += len(dropped)
        pruning.count_bytes(dropped)
        losing = {*(row.run_id for row in dropped), *lose_something.intersection(batch)}
        kept = {*(row.run_id for row in events if row.id in needed), *shown.intersection(batch)}
        for run_id in batch:
            # A run that only its row is left of has no logs any more: a bucket is not asked about it each night.
            _prune_logs(pruning, run_id, printed=run_id in losing or run_id not in kept)
        pruning.delete(_TAGS.event_id, [row.id for row in dropped])
        pruning.delete(_EVENTS.id, [row.id for row in dropped])
        pruning.done.trimmed += len(losing & kept)
        for run_id in batch:
            if run_id not in kept:
                pruning.done.runs += 1
                if not pruning.dry_run:
                    pruning.instance.run_storage.delete_run(run_id)


def _prune_runless(pruning: _Pruning, needed: Collection[int], before: datetime) -> None:
    """Remove events of no run: what a page or a run has reported about an asset or a check."""
    storage, size = _sql_storage(pruning.instance), func.length(_EVENTS.event).label("bytes")
    runless = select(_EVENTS.id, size).where(_EVENTS.run_id == RUNLESS_RUN_ID, _EVENTS.timestamp < before)
    with storage.index_connection() as connection:
        dropped = [row for row in connection.execute(runless) if row.id not in needed]
    pruning.done.events += len(dropped)
    pruning.count_bytes(dropped)
    pruning.delete(_TAGS.event_id, [row.id for row in dropped])
    pruning.delete(_EVENTS.id, [row.id for row in dropped])
    # SQLite has them in a file of their own, too.
    if pruning.dry_run or not isinstance(storage, SqliteEventLogStorage):
        return
    if Path(storage.path_for_shard(RUNLESS_RUN_ID)).exists():
        with storage.run_connection(RUNLESS_RUN_ID) as connection:
            connection.execute(SqlEventLogStorageTable.delete().where(_EVENTS.timestamp < before))


def _prune_evaluations(pruning: _Pruning, old: Collection[str], before: datetime) -> tuple[set[str], set[str]]:
    """Remove the superseded evaluations of old runs, and of no run.

    Returns:
        Ids of the runs that have an evaluation which stays, and of those that lose some.
    """
    storage, shown, losing = _sql_storage(pruning.instance), set[str](), set[str]()
    with storage.index_connection() as connection:
        needed = _needed_evaluations(connection)
    last = 0
    size = func.length(_CHECKS.evaluation_event).label("bytes")
    # In pieces by id: the table has no index of runs, and may be large where nobody has pruned yet.
    at = _CHECKS.evaluation_event_timestamp.label("at")
    following = select(_CHECKS.id, _CHECKS.run_id, at, size).order_by(_CHECKS.id).limit(_SCANNED)
    while True:
        with storage.index_connection() as connection:
            rows = connection.execute(following.where(_CHECKS.id > last)).fetchall()
        if not rows:
            return shown, losing
        last = rows[-1].id
        shown |= {row.run_id for row in rows if row.id in needed}
        superseded = [row for row in rows if row.id not in needed]
        dropped = [
            row
            for row in superseded
            if row.run_id in old or (row.run_id == RUNLESS_RUN_ID and row.at and row.at.replace(tzinfo=None) < before)
        ]
        losing |= {row.run_id for row in dropped}
        pruning.done.evaluations += len(dropped)
        pruning.count_bytes(dropped)
        pruning.delete(_CHECKS.id, [row.id for row in dropped])


def _needed_events(connection: Any) -> set[int]:
    found = connection.execute(
        select(_EVENTS.asset_key, _EVENTS.partition, _EVENTS.dagster_event_type, func.max(_EVENTS.id))
        .where(_EVENTS.dagster_event_type.in_([MATERIALIZED, OBSERVED, *ATTEMPTED]))
        .group_by(_EVENTS.asset_key, _EVENTS.partition, _EVENTS.dagster_event_type)
    )
    needed = needed_events(NewestEvent(*row) for row in found)
    # SQLite gives the id of its last row again once that row is gone, and cursors count on ids that only grow.
    return needed | set(connection.execute(select(func.max(_EVENTS.id))).scalars())


def _needed_evaluations(connection: Any) -> set[int]:
    """Ids of the newest evaluation of each check and partition, and of the newest one that has ended."""
    newest = select(func.max(_CHECKS.id)).group_by(_CHECKS.asset_key, _CHECKS.check_name, _CHECKS.partition)
    ended = newest.where(_CHECKS.execution_status.in_(["SUCCEEDED", "FAILED"]))
    return {*connection.execute(newest).scalars(), *connection.execute(ended).scalars()}


def _prune_logs(pruning: _Pruning, run_id: str, *, printed: bool) -> None:
    """Remove the file of a run's events, and what the run printed."""
    instance, storage = pruning.instance, pruning.instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage):
        if isinstance(storage, KeptSqliteEventLogStorage) and not pruning.dry_run:
            storage.close_run(run_id)
        _remove_shard(pruning, storage, run_id)
    if isinstance(instance.compute_log_manager, LocalComputeLogManager):
        pruning.remove(Path(instance.storage_directory()) / run_id)
    elif printed and not pruning.dry_run:
        instance.compute_log_manager.delete_logs(prefix=[run_id])


def _remove_shard(pruning: _Pruning, storage: SqliteEventLogStorage, run_id: str) -> None:
    path = storage.path_for_shard(run_id)
    for suffix in ("", "-wal", "-shm"):
        pruning.remove(Path(path + suffix))


def _prune_files(pruning: _Pruning, whole: Collection[str], known: Collection[str]) -> None:
    """Remove files of runs that Dagster does not know any more, and leftovers of killed processes."""
    instance, storage = pruning.instance, pruning.instance.event_log_storage
    for path in leftover_files(whole, known):
        pruning.remove(path)
    if isinstance(storage, SqliteEventLogStorage):
        for run_id in storage.get_all_run_ids():
            if run_id not in known and is_abandoned(Path(storage.path_for_shard(run_id))):
                _remove_shard(pruning, storage, run_id)
    if isinstance(instance.compute_log_manager, LocalComputeLogManager):
        printed = Path(instance.storage_directory())
        for folder in printed.iterdir() if printed.exists() else ():
            if folder.name not in known and _is_run_id(folder.name) and is_abandoned(folder):
                pruning.remove(folder)


def _prune_ticks(pruning: _Pruning, keep: int) -> None:
    """Remove all but the newest ticks of each sensor and schedule, with what they logged."""
    instance, storage = pruning.instance, pruning.instance.schedule_storage
    if not isinstance(storage, SqlScheduleStorage):
        return
    for state in instance.all_instigator_state():
        origin, selector = state.instigator_origin_id, state.selector_id
        oldest: list[float] = []
        for statuses in _TICKS:
            newest = instance.get_ticks(origin, selector, limit=keep, statuses=list(statuses))
            oldest += [tick.timestamp for tick in newest[-1:]]
            if len(newest) < keep:
                continue
            is_older = (
                JobTickTable.c.selector_id == selector,
                JobTickTable.c.status.in_([status.value for status in statuses]),
                JobTickTable.c.timestamp < datetime.fromtimestamp(newest[-1].timestamp, UTC),
            )
            size = func.sum(func.length(JobTickTable.c.tick_body))
            with storage.connect() as connection:
                counted: Any = connection.execute(select(func.count(), size).where(*is_older)).one()
            ticks, tick_bytes = counted
            pruning.done.ticks += ticks
            pruning.done.bytes += tick_bytes or 0
            if ticks and not pruning.dry_run:
                instance.purge_ticks(origin, selector, newest[-1].timestamp, list(statuses))
        if oldest:
            _prune_tick_logs(pruning, state.instigator_name, min(oldest))


def _prune_tick_logs(pruning: _Pruning, name: str, oldest: float) -> None:
    """Remove what the ticks of a sensor or a schedule logged before an instant, where it stays in Dagster's home."""
    instance = pruning.instance
    if isinstance(instance.compute_log_manager, LocalComputeLogManager):
        for log in Path(instance.storage_directory()).glob(f"*/{name}/*"):
            if log.is_file() and log.stat().st_mtime < oldest:
                pruning.remove(log)


def _of_unfinished_backfills(instance: dg.DagsterInstance) -> list[str]:
    """Ids of the runs of backfills that are at work: the daemon looks at all of them."""
    backfills = [
        backfill.backfill_id for status in _UNFINISHED_BACKFILLS for backfill in instance.get_backfills(status=status)
    ]
    return list(instance.get_run_ids(dg.RunsFilter(tags={_BACKFILL_TAG: backfills}))) if backfills else []


def _shrink(path: Path) -> int:
    if not path.exists():
        return 0
    before = path.stat().st_size
    # Whoever writes in this moment is not kept waiting: the next pruning tries again.
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as file:
        free, pages, size = (
            file.execute(f"PRAGMA {what}").fetchone()[0] for what in ("freelist_count", "page_count", "page_size")
        )
        if free * size >= _FREE_BYTES and free >= pages * _FREE_SHARE:
            file.execute("VACUUM")
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return before - path.stat().st_size


def _sql_storage(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)  # noqa: S101 (who calls has looked)
    return storage


def _is_run_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _batches(values: Iterable[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(values)
    while batch := list(islice(rest, size)):
        yield batch
