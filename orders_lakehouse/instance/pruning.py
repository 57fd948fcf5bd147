"""Prune Dagster's history of old runs.

Dagster's public way deletes a run with all of its events, after which its dates show as missing. This module keeps the
events that the UI needs for each asset and date. A run's row is deleted last, so that the next pruning finds the run
again if this one is killed.
"""

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import dagster as dg

from orders_lakehouse.instance.retention import (
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
from orders_lakehouse.runtime import stored_history
from orders_lakehouse.runtime.stored_history import NO_RUN, StoredRow

_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_UNFINISHED = [status for status in dg.DagsterRunStatus if status not in _FINISHED]
# Number of runs whose events are read together.
_RUNS = 100
# Free share and free bytes from which a SQLite file is written anew.
_FREE_SHARE, _FREE_BYTES = 0.25, 1_000_000


@dataclass
class Pruned:
    """Numbers of removed things, or of those that would be removed.

    Attributes:
        runs: Runs that Dagster forgets.
        trimmed: Runs that keep only the events that the UI needs.
        events: Events in the index of all runs.
        evaluations: Evaluations of checks.
        ticks: Ticks of sensors and schedules.
        files: Files: event logs of single runs, output of runs, artifacts of dbt, leftovers of killed processes.
        bytes: Size of the files, and of rows where it is known.
        oldest: Creation of the oldest run that keeps everything; None if there are no older runs.
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
    pruned: Pruned = field(default_factory=Pruned)

    def remove(self, path: Path) -> None:
        """Count the files at a path, and remove them."""
        files, size = files_and_bytes(path) if path.exists() else (0, 0)
        self.pruned.files += files
        self.pruned.bytes += size
        if not self.dry_run:
            remove(path)

    def delete_events(self, rows: Sequence[StoredRow]) -> None:
        """Count events, and delete them."""
        self.pruned.events += len(rows)
        self.pruned.bytes += sum(row.bytes for row in rows)
        if not self.dry_run:
            stored_history.delete_events(self.instance, [row.id for row in rows])

    def delete_evaluations(self, rows: Sequence[StoredRow]) -> None:
        """Count evaluations, and delete them."""
        self.pruned.evaluations += len(rows)
        self.pruned.bytes += sum(row.bytes for row in rows)
        if not self.dry_run:
            stored_history.delete_evaluations(self.instance, [row.id for row in rows])


def prune_history(
    instance: dg.DagsterInstance, keep: int, named: Collection[str] = (), *, dry_run: bool = False
) -> Pruned:
    """Remove what is not needed of all but the newest runs, and files that belong to no run.

    Runs and another pruning may be active at the same time.

    Args:
        instance: Dagster's instance, whose storage is SQLite or Postgres.
        keep: Number of newest runs that keep everything, and of newest ticks kept for each sensor and schedule.
        named: Ids of older runs that keep everything, because messages refer to them.
        dry_run: Change nothing, and only count.

    Returns:
        What was removed, or would be removed.
    """
    pruning = _Pruning(instance, dry_run)
    newest = instance.get_run_records(limit=keep)
    runs = [record.dagster_run for record in newest]
    whole = {
        *named,
        *(run_id for run in runs for run_id in (run.run_id, run.root_run_id, run.parent_run_id) if run_id),
        *instance.get_run_ids(dg.RunsFilter(statuses=_UNFINISHED)),
        *stored_history.runs_of_unfinished_backfills(instance),
    }
    old: list[str] = []
    if len(newest) == keep:
        pruning.pruned.oldest = newest[-1].create_timestamp
        older = instance.get_run_ids(dg.RunsFilter(statuses=_FINISHED), cursor=runs[-1].run_id)
        # The oldest run comes first, so that a killed pruning leaves no gap.
        old = [run_id for run_id in reversed(older) if run_id not in whole]
    if pruning.pruned.oldest and stored_history.has_own_events(instance):
        _prune_runs(pruning, old, pruning.pruned.oldest.astimezone(UTC).replace(tzinfo=None))
    _prune_files(pruning, whole, {*whole, *old})
    _prune_ticks(pruning, keep)
    return pruning.pruned


def shrink_files(instance: dg.DagsterInstance, run_id: str = "") -> int:
    """Return free space in Dagster's SQLite files to the disk, if there is much of it and no other run is active.

    Args:
        instance: Dagster's instance.
        run_id: The run that asks.

    Returns:
        Number of bytes returned.
    """
    unfinished = instance.get_run_ids(dg.RunsFilter(statuses=_UNFINISHED))
    return 0 if set(unfinished) - {run_id} else sum(map(_shrink, stored_history.shared_files(instance)))


def _prune_runs(pruning: _Pruning, old: Sequence[str], before: datetime) -> None:
    """Remove what is not needed of old runs, and of reports without a run from before an instant (UTC)."""
    # Evaluations are pruned before the runs' rows, because they are found by these.
    shown, lose_something = _prune_evaluations(pruning, frozenset(old), before)
    needed = _needed_events(pruning.instance)
    _prune_runless(pruning, needed, before)
    for start in range(0, len(old), _RUNS):
        batch = old[start : start + _RUNS]
        events = stored_history.events_of_runs(pruning.instance, batch)
        dropped = [row for row in events if row.id not in needed]
        losing = {*(row.run_id for row in dropped), *lose_something.intersection(batch)}
        kept = {*(row.run_id for row in events if row.id in needed), *shown.intersection(batch)}
        for run_id in batch:
            # A run that has only its row left has no output any more, so a bucket is not asked about it each night.
            _prune_logs(pruning, run_id, printed=run_id in losing or run_id not in kept)
        pruning.delete_events(dropped)
        pruning.pruned.trimmed += len(losing & kept)
        for run_id in batch:
            if run_id not in kept:
                pruning.pruned.runs += 1
                if not pruning.dry_run:
                    stored_history.delete_run_alone(pruning.instance, run_id)


def _prune_runless(pruning: _Pruning, needed: Collection[int], before: datetime) -> None:
    """Remove events without a run: reports of a page or a run about an asset or a check."""
    runless = stored_history.events_of_no_run(pruning.instance, before)
    pruning.delete_events([row for row in runless if row.id not in needed])
    if not pruning.dry_run:
        stored_history.delete_from_file_of_no_run(pruning.instance, before)


def _prune_evaluations(pruning: _Pruning, old: Collection[str], before: datetime) -> tuple[set[str], set[str]]:
    """Remove the superseded evaluations of old runs, and those without a run.

    Returns:
        Ids of the runs with an evaluation that stays, and of the runs that lose some.
    """
    shown, losing = set[str](), set[str]()
    needed = stored_history.newest_evaluations(pruning.instance)
    for rows in stored_history.evaluations(pruning.instance):
        shown |= {row.run_id for row in rows if row.id in needed}
        superseded = [row for row in rows if row.id not in needed]
        dropped = [
            row for row in superseded if row.run_id in old or (row.run_id == NO_RUN and row.at and row.at < before)
        ]
        losing |= {row.run_id for row in dropped}
        pruning.delete_evaluations(dropped)
    return shown, losing


def _needed_events(instance: dg.DagsterInstance) -> set[int]:
    newest, last = stored_history.newest_of_assets(instance, [MATERIALIZED, OBSERVED, *ATTEMPTED])
    # The last event stays, because SQLite would give its id again, and cursors rely on ids that only grow.
    return needed_events(NewestEvent(*row) for row in newest) | ({last} if last is not None else set())


def _prune_logs(pruning: _Pruning, run_id: str, *, printed: bool) -> None:
    """Remove the file of a run's events, and the run's output."""
    if not pruning.dry_run:
        stored_history.close_event_file(pruning.instance, run_id)
    _remove_all(pruning, stored_history.event_files(pruning.instance, run_id))
    folder = stored_history.printed_folder(pruning.instance)
    if folder is not None:
        pruning.remove(folder / run_id)
    elif printed and not pruning.dry_run:
        stored_history.delete_printed(pruning.instance, run_id)


def _prune_files(pruning: _Pruning, whole: Collection[str], known: Collection[str]) -> None:
    """Remove files of runs that Dagster does not know any more, and leftovers of killed processes."""
    _remove_all(pruning, leftover_files(whole, known))
    for run_id in stored_history.runs_with_event_files(pruning.instance):
        events = stored_history.event_files(pruning.instance, run_id)
        if run_id not in known and is_abandoned(events[0]):
            _remove_all(pruning, events)
    printed = stored_history.printed_folder(pruning.instance)
    for folder in printed.iterdir() if printed is not None and printed.exists() else ():
        if folder.name not in known and _is_run_id(folder.name) and is_abandoned(folder):
            pruning.remove(folder)


def _prune_ticks(pruning: _Pruning, keep: int) -> None:
    """Remove all but the newest ticks of each sensor and schedule, with their logs."""
    folder = stored_history.printed_folder(pruning.instance)
    for ticks in stored_history.old_ticks(pruning.instance, keep, purge=not pruning.dry_run):
        pruning.pruned.ticks += ticks.number
        pruning.pruned.bytes += ticks.bytes
        for log in folder.glob(f"*/{ticks.name}/*") if folder is not None else ():
            if ticks.oldest_kept is not None and log.is_file() and log.stat().st_mtime < ticks.oldest_kept:
                pruning.remove(log)


def _remove_all(pruning: _Pruning, paths: Iterable[Path]) -> None:
    for path in paths:
        pruning.remove(path)


def _shrink(path: Path) -> int:
    if not path.exists():
        return 0
    before = path.stat().st_size
    # A short timeout keeps writers from waiting; the next pruning tries again.
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as file:
        free, pages, size = (
            file.execute(f"PRAGMA {what}").fetchone()[0] for what in ("freelist_count", "page_count", "page_size")
        )
        if free * size >= _FREE_BYTES and free >= pages * _FREE_SHARE:
            file.execute("VACUUM")
            file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return before - path.stat().st_size


def _is_run_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False
