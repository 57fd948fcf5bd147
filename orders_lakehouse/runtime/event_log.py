"""Dagster's event log on SQLite, with engines that stay open.

Dagster's own storage makes an engine and a connection for every event and closes both again. So SQL is compiled anew,
and at each close SQLite copies its write-ahead log back and waits for the disk. A range of a year has ten thousand
events. This storage, named in dagster.yaml, keeps an engine for each file. It writes the events for all dates of an
asset in one transaction; Dagster hands them over together if a storage supports it. A run's plan for the dates of an
asset is one event, but the index needs one row for each date, because Dagster searches there.

`synchronous=NORMAL` avoids waiting for the disk. With a write-ahead log it is safe when a process is killed. A power
cut may lose the last events, which are history, not data.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain
from typing import Any, Self

import dagster as dg

# Dagster has no public way to extend this storage.
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import AssetMaterializationPlannedData
from dagster._core.storage.event_log import SqlEventLogStorageTable, SqliteEventLogStorage
from sqlalchemy import Connection, Engine, StaticPool, create_engine, event

# Most engines that stay open; each run has a file, and there is one index.
_KEPT = 16
# Seconds that SQLite waits for a lock.
_BUSY_SECONDS = 30
# Placeholder for a date in a serialized event.
_SOME_DATE = "[some date]"
# Most events that are collected before a write; they come from the end of a step or the start of a run.
_BATCH = 1000


class KeptSqliteEventLogStorage(SqliteEventLogStorage):
    """Dagster's SQLite event log in DAGSTER_HOME/history/runs, where the default one keeps it."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        """Return an empty schema, because there is nothing to configure."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:  # noqa: ARG003
        """Create the storage; Dagster calls this for dagster.yaml."""
        # Without this variable, Dagster hands over one event at a time.
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(_BATCH))
        return cls(os.path.join(os.environ["DAGSTER_HOME"], "history", "runs"), inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock, self._engine(shard).begin() as connection:
            yield connection

    @property
    def supports_partition_subset_in_asset_materialization_planned_events(self) -> bool:
        """Return true, so that Dagster hands over one planned event for all dates of an asset."""
        return True

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store an event of a run."""
        if _planned_dates(event) is None:
            super().store_event(event)
        else:
            self.store_event_batch([event])

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store events of one run in one transaction for each file.

        Args:
            events: Planned and finished materializations, and planned checks, of the same run.
        """
        rows = [self._event_to_row(event) for event in events]
        with self.run_connection(events[0].run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
        insert = SqlEventLogStorageTable.insert().returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)
        by_date = [_row_by_date(event, row) for event, row in zip(events, rows, strict=True)]
        with self.index_connection() as connection:
            ids: Sequence[int] = connection.execute(insert, list(chain.from_iterable(by_date))).scalars().all()
            # An event with rows for many dates is known by the id of its last row.
            ends = accumulate(len(of_event) for of_event in by_date)
            stored = [(event, ids[end - 1]) for event, end in zip(events, ends, strict=True)]
            of_assets = [(event, id_) for event, id_ in stored if event.get_dagster_event().asset_key]
            self._store_asset_event_tags(connection, [event for event, _ in of_assets], [id_ for _, id_ in of_assets])
            # The entry of an asset holds only its last event, so earlier events need not be written.
            last = {
                (event.get_dagster_event().asset_key, event.dagster_event_type): (event, id_)
                for event, id_ in of_assets
            }
            for event, id_ in last.values():
                self._store_asset_event(connection, event, id_)
        for event, id_ in stored:
            if event.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
                self.store_asset_check_event(event, id_)

    def store_asset_check_event(self, event: dg.EventLogEntry, event_id: int | None) -> None:
        """Store an event of a check; one that plans a check for many dates gets one row.

        A check of a run has one verdict for all its dates. Dagster would add a row for each date, which stays planned
        for ever: 49,000 rows and 140 MB for a year.
        """
        if event.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
            dagster_event = event.get_dagster_event()
            planned = dagster_event.asset_check_planned_data
            of_all_dates = AssetCheckEvaluationPlanned(asset_key=planned.asset_key, check_name=planned.check_name)
            event = event._replace(dagster_event=dagster_event._replace(event_specific_data=of_all_dates))
        super().store_asset_check_event(event, event_id)

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            engine = create_engine(
                self.conn_string_for_shard(shard),
                # All threads share one connection, and the lock lets one of them use it.
                poolclass=StaticPool,
                connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
            )
            event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=NORMAL"))
            self._initdb(engine)
            self._engines[shard] = engine
            if len(self._engines) > _KEPT:
                _, longest_unused = self._engines.popitem(last=False)
                longest_unused.dispose()
        self._engines.move_to_end(shard)
        return self._engines[shard]

    def has_table(self, table_name: str) -> bool:
        """Return whether the index has a table; the parent would open the file again for each event of a check."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def close_run(self, run_id: str) -> None:
        """Close the file of a run, before it is removed."""
        with self._db_lock:
            engine = self._engines.pop(run_id, None)
            if engine is not None:
                engine.dispose()

    def wipe(self) -> None:
        """Remove every event, and the files with them."""
        with self._db_lock:
            self._dispose_engines()
        super().wipe()

    def dispose(self) -> None:
        """Close all engines."""
        super().dispose()
        with self._db_lock:
            self._dispose_engines()

    def _dispose_engines(self) -> None:
        for engine in self._engines.values():
            engine.dispose()
        self._engines.clear()


def _planned_dates(event: dg.EventLogEntry) -> Any:
    """Return the dates of an asset that a run plans to make; None for any other event."""
    if event.dagster_event_type != dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED:
        return None
    return event.get_dagster_event().asset_materialization_planned_data.partitions_subset


def _row_by_date(event: dg.EventLogEntry, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of an event: one, or one for each date if it plans many dates."""
    dates = _planned_dates(event)
    if dates is None:
        return [row]
    dagster_event = event.get_dagster_event()
    planned = dagster_event.asset_materialization_planned_data
    for_one_date = AssetMaterializationPlannedData(planned.asset_key, partition=_SOME_DATE)
    event_for_one_date = event._replace(dagster_event=dagster_event._replace(event_specific_data=for_one_date))
    # The event is serialized once, because the texts for different dates differ only in the date.
    text = dg.serialize_value(event_for_one_date)
    return [{**row, "event": text.replace(_SOME_DATE, key), "partition": key} for key in dates.get_partition_keys()]
