"""Count and delete single rows and files of Dagster's own storage.

Dagster's storage has no public way to delete some events of a run, to count ticks, or to name the files of a run.
`instance.pruning` decides what is deleted.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
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

NO_RUN = RUNLESS_RUN_ID
# Groups of ticks that are counted separately, because many skipped ticks would displace those that requested runs.
_TICKS = ((TickStatus.SKIPPED,), (TickStatus.SUCCESS, TickStatus.FAILURE))
_UNFINISHED_BACKFILLS = (BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING)
# Number of rows that one transaction deletes; small, because other writers wait for it.
_ROWS = 500
# Number of evaluations that are read at once.
_SCANNED = 50_000
_EVENTS, _CHECKS, _TAGS = SqlEventLogStorageTable.c, AssetCheckExecutionsTable.c, AssetEventTagsTable.c


class StoredRow(NamedTuple):
    """A row of the index over all runs: an event, or an evaluation of a check.

    Attributes:
        id: Id in its table.
        run_id: Its run, or `NO_RUN`.
        bytes: Size of the event.
        at: Instant of an evaluation, in UTC without a zone; None for an event, or while the check is only planned.
    """

    id: int
    run_id: str
    bytes: int
    at: datetime | None = None


class OldTicks(NamedTuple):
    """Ticks of a sensor or a schedule that are older than the newest ones.

    Attributes:
        name: Name of the sensor or the schedule.
        number: Number of these ticks.
        bytes: Size of these ticks.
        oldest_kept: Timestamp of the oldest tick that stays; None if none stays.
    """

    name: str
    number: int
    bytes: int
    oldest_kept: float | None


def has_own_events(instance: dg.DagsterInstance) -> bool:
    """Return whether events are stored in a database with Dagster's own tables; Dagster+ keeps its history itself."""
    return isinstance(instance.event_log_storage, SqlEventLogStorage)


def events_of_runs(instance: dg.DagsterInstance, run_ids: Collection[str]) -> list[StoredRow]:
    """Return the events of some runs."""
    return _rows(instance, _EVENTS.run_id.in_(run_ids))


def events_of_no_run(instance: dg.DagsterInstance, before: datetime) -> list[StoredRow]:
    """Return the events without a run from before an instant (UTC): reports of the UI or of runs about an asset."""
    return _rows(instance, (_EVENTS.run_id == NO_RUN) & (_EVENTS.timestamp < before))


def _rows(instance: dg.DagsterInstance, condition: Any) -> list[StoredRow]:
    chosen = select(_EVENTS.id, _EVENTS.run_id, func.length(_EVENTS.event)).where(condition)
    return [StoredRow(*row) for row in _query(instance, chosen)]


def newest_of_assets(
    instance: dg.DagsterInstance, types: Collection[str]
) -> tuple[list[tuple[str, str | None, str, int]], int | None]:
    """Return the newest event of each asset, partition and type, and the newest of all.

    Args:
        instance: Dagster's instance.
        types: Types of events.

    Returns:
        Asset, partition, type and id of each event; and the id of the last event, if there is one.
    """
    newest = (
        select(_EVENTS.asset_key, _EVENTS.partition, _EVENTS.dagster_event_type, func.max(_EVENTS.id))
        .where(_EVENTS.dagster_event_type.in_(types))
        .group_by(_EVENTS.asset_key, _EVENTS.partition, _EVENTS.dagster_event_type)
    )
    ((last,),) = _query(instance, select(func.max(_EVENTS.id)))
    return [(asset, partition, type_, id_) for asset, partition, type_, id_ in _query(instance, newest)], last


def newest_evaluations(instance: dg.DagsterInstance) -> set[int]:
    """Return for each check and partition the ids of the newest evaluation and of the newest finished one."""
    newest = select(func.max(_CHECKS.id)).group_by(_CHECKS.asset_key, _CHECKS.check_name, _CHECKS.partition)
    ended = newest.where(_CHECKS.execution_status.in_(["SUCCEEDED", "FAILED"]))
    return {id_ for chosen in (newest, ended) for (id_,) in _query(instance, chosen)}


def evaluations(instance: dg.DagsterInstance) -> Iterator[list[StoredRow]]:
    """Yield all evaluations in groups; the caller may delete a group before the next one is read."""
    # Rows are read by id, because the table has no index on runs and may be large before the first pruning.
    following = (
        select(_CHECKS.id, _CHECKS.run_id, func.length(_CHECKS.evaluation_event), _CHECKS.evaluation_event_timestamp)
        .order_by(_CHECKS.id)
        .limit(_SCANNED)
    )
    last = 0
    while True:
        rows = [
            StoredRow(id_, run_id, size or 0, at and at.replace(tzinfo=None))
            for id_, run_id, size, at in _query(instance, following.where(_CHECKS.id > last))
        ]
        if not rows:
            return
        last = rows[-1].id
        yield rows


def delete_events(instance: dg.DagsterInstance, ids: Sequence[int]) -> None:
    """Delete events from the index over all runs, with their tags."""
    _delete(instance, _TAGS.event_id, ids)
    _delete(instance, _EVENTS.id, ids)


def delete_evaluations(instance: dg.DagsterInstance, ids: Sequence[int]) -> None:
    """Delete evaluations of checks."""
    _delete(instance, _CHECKS.id, ids)


def _delete(instance: dg.DagsterInstance, column: Any, ids: Sequence[int]) -> None:
    for start in range(0, len(ids), _ROWS):
        with _sql_storage(instance).index_connection() as connection:
            connection.execute(column.table.delete().where(column.in_(ids[start : start + _ROWS])))


def delete_from_file_of_no_run(instance: dg.DagsterInstance, before: datetime) -> None:
    """Delete events without a run from before an instant (UTC) from the separate file that SQLite has for them."""
    storage = instance.event_log_storage
    if isinstance(storage, SqliteEventLogStorage) and Path(storage.path_for_shard(NO_RUN)).exists():
        with storage.run_connection(NO_RUN) as connection:
            connection.execute(SqlEventLogStorageTable.delete().where(_EVENTS.timestamp < before))


def delete_run_alone(instance: dg.DagsterInstance, run_id: str) -> None:
    """Delete only the row of a run; `DagsterInstance.delete_run` would delete all of its events, too."""
    instance.run_storage.delete_run(run_id)


def runs_of_unfinished_backfills(instance: dg.DagsterInstance) -> list[str]:
    """Return the ids of the runs of running backfills, because the daemon reads all of them."""
    backfills = [
        backfill.backfill_id for status in _UNFINISHED_BACKFILLS for backfill in instance.get_backfills(status=status)
    ]
    return list(instance.get_run_ids(dg.RunsFilter(tags={"dagster/backfill": backfills}))) if backfills else []


def event_files(instance: dg.DagsterInstance, run_id: str) -> list[Path]:
    """Return the paths of SQLite's files for the events of a run, existing or not; none for another storage."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        return []
    return [Path(storage.path_for_shard(run_id) + suffix) for suffix in ("", "-wal", "-shm")]


def close_event_file(instance: dg.DagsterInstance, run_id: str) -> None:
    """Close the file of a run's events, before it is removed."""
    if isinstance(instance.event_log_storage, KeptSqliteEventLogStorage):
        instance.event_log_storage.close_run(run_id)


def runs_with_event_files(instance: dg.DagsterInstance) -> list[str]:
    """Return the ids of the runs whose events SQLite has a file for."""
    storage = instance.event_log_storage
    return list(storage.get_all_run_ids()) if isinstance(storage, SqliteEventLogStorage) else []


def shared_files(instance: dg.DagsterInstance) -> list[Path]:
    """Return the files of SQLite that all runs share; none for another storage."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        return []
    home = Path(instance.root_directory)
    shards = [Path(storage.path_for_shard(shard)) for shard in ("index", NO_RUN)]
    return [*shards, home / "history" / "runs.db", home / "schedules" / "schedules.db"]


def printed_folder(instance: dg.DagsterInstance) -> Path | None:
    """Return the folder with the captured output of all runs; None if it is stored in a bucket."""
    is_local = isinstance(instance.compute_log_manager, LocalComputeLogManager)
    return Path(instance.storage_directory()) if is_local else None


def delete_printed(instance: dg.DagsterInstance, run_id: str) -> None:
    """Delete the captured output of a run from the storage of the compute log manager."""
    instance.compute_log_manager.delete_logs(prefix=[run_id])


def old_ticks(instance: dg.DagsterInstance, keep: int, *, purge: bool) -> Iterator[OldTicks]:
    """Yield for each sensor and schedule the ticks beyond the newest ones.

    Args:
        instance: Dagster's instance.
        keep: Number of newest ticks that stay, separately for skipped ticks and for others.
        purge: Whether older ticks are deleted.
    """
    if not isinstance(instance.schedule_storage, SqlScheduleStorage):
        return
    for state in instance.all_instigator_state():
        number, size = 0, 0
        oldest: list[float] = []
        for statuses in _TICKS:
            newest = instance.get_ticks(
                state.instigator_origin_id, state.selector_id, limit=keep, statuses=list(statuses)
            )
            oldest += [tick.timestamp for tick in newest[-1:]]
            if len(newest) == keep:
                counted = _count_ticks(instance.schedule_storage, state.selector_id, statuses, newest[-1].timestamp)
                number, size = number + counted[0], size + counted[1]
                if counted[0] and purge:
                    instance.purge_ticks(
                        state.instigator_origin_id, state.selector_id, newest[-1].timestamp, list(statuses)
                    )
        yield OldTicks(state.instigator_name, number, size, min(oldest, default=None))


def _count_ticks(
    storage: SqlScheduleStorage, selector: str, statuses: Iterable[TickStatus], before: float
) -> tuple[int, int]:
    older = (
        JobTickTable.c.selector_id == selector,
        JobTickTable.c.status.in_([status.value for status in statuses]),
        JobTickTable.c.timestamp < datetime.fromtimestamp(before, UTC),
    )
    size = func.sum(func.length(JobTickTable.c.tick_body))
    with storage.connect() as connection:
        counted: Any = connection.execute(select(func.count(), size).where(*older)).one()
    return counted[0], counted[1] or 0


def _query(instance: dg.DagsterInstance, chosen: Any) -> list[Any]:
    with _sql_storage(instance).index_connection() as connection:
        return list(connection.execute(chosen))


def _sql_storage(instance: dg.DagsterInstance) -> SqlEventLogStorage:
    storage = instance.event_log_storage
    assert isinstance(storage, SqlEventLogStorage)  # noqa: S101 (callers have checked)
    return storage
