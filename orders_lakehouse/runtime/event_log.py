"""Dagster's event log on SQLite, with engines that are kept.

Dagster's own storage makes an engine and opens a connection for every event and closes both again: SQL is compiled
anew, and the last connection to close makes SQLite copy its write-ahead log back and wait for the disk. A range of a
year is ten thousand events. This storage, named in dagster.yaml, is the same one with an engine kept for each file, and
with one transaction for the dates of an asset, which Dagster hands over together to a storage that asks for it. That a
run plans the dates of an asset is one event, which stands in the index once for each date: there it is looked for.

`synchronous=NORMAL` spares the waiting for the disk: with a write-ahead log that is safe when a process is killed; a
power cut may cost the last events, which are history, not data.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain
from typing import Any, Self

import dagster as dg

# The storage that dagster.yaml may name by this very path; there is no other way to refine it.
from dagster._core.events import AssetMaterializationPlannedData
from dagster._core.storage.event_log import SqlEventLogStorageTable, SqliteEventLogStorage
from sqlalchemy import Connection, Engine, StaticPool, create_engine, event

# A file for each run, and the index over all.
_KEPT = 16
_BUSY_SECONDS = 30
# Stands for a date in a serialized event.
_SOME_DATE = "[some date]"
# Events that wait in memory for one another; all come from the end of a step, or the start of a run.
_BATCH = 1000


class KeptSqliteEventLogStorage(SqliteEventLogStorage):
    """Dagster's SQLite event log in DAGSTER_HOME/history/runs, where the default one keeps it."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._tables: set[str] = set()
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        """Nothing to configure."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:  # noqa: ARG003
        """Made by Dagster from dagster.yaml."""
        # Without it, Dagster hands over one event at a time.
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(_BATCH))
        return cls(os.path.join(os.environ["DAGSTER_HOME"], "history", "runs"), inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock, self._engine(shard).begin() as connection:
            yield connection

    @property
    def supports_partition_subset_in_asset_materialization_planned_events(self) -> bool:
        """Dagster hands over one planned event for all dates of an asset."""
        return True

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store an event of a run."""
        if _planned_dates(event) is None:
            super().store_event(event)
        else:
            self.store_event_batch([event])

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store events of one run, those that Dagster hands over together, in one transaction for each file.

        Args:
            events: Planned and done materializations, and planned checks, of the same run.
        """
        rows = [self._event_to_row(event) for event in events]
        with self.run_connection(events[0].run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
        insert = SqlEventLogStorageTable.insert().returning(SqlEventLogStorageTable.c.id, sort_by_parameter_order=True)
        by_date = [_row_by_date(event, row) for event, row in zip(events, rows, strict=True)]
        with self.index_connection() as connection:
            ids: Sequence[int] = connection.execute(insert, list(chain.from_iterable(by_date))).scalars().all()
            # Of an event that stands there for many dates, the last.
            ends = accumulate(len(of_event) for of_event in by_date)
            stored = [(event, ids[end - 1]) for event, end in zip(events, ends, strict=True)]
            of_assets = [(event, id_) for event, id_ in stored if event.get_dagster_event().asset_key]
            self._store_asset_event_tags(connection, [event for event, _ in of_assets], [id_ for _, id_ in of_assets])
            # An asset's entry tells of its last event: each one would overwrite what the one before has written.
            last = {
                (event.get_dagster_event().asset_key, event.dagster_event_type): (event, id_)
                for event, id_ in of_assets
            }
            for event, id_ in last.values():
                self._store_asset_event(connection, event, id_)
        for event, id_ in stored:
            if event.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
                self.store_asset_check_event(event, id_)

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            engine = create_engine(
                self.conn_string_for_shard(shard),
                # One connection, for whichever thread holds the lock.
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
        """Whether the index has a table; the parent opens the file anew to find out, for each event of a check."""
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
        """Close what is open."""
        super().dispose()
        with self._db_lock:
            self._dispose_engines()

    def _dispose_engines(self) -> None:
        for engine in self._engines.values():
            engine.dispose()
        self._engines.clear()


def _planned_dates(event: dg.EventLogEntry) -> Any:
    """The dates of an asset that a run plans to make; None for any other event."""
    if event.dagster_event_type != dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED:
        return None
    return event.get_dagster_event().asset_materialization_planned_data.partitions_subset


def _row_by_date(event: dg.EventLogEntry, row: dict[str, Any]) -> list[dict[str, Any]]:
    """The row of an event; of one that plans many dates, the rows that an event for each of them would have."""
    dates = _planned_dates(event)
    if dates is None:
        return [row]
    told = event.get_dagster_event()
    planned = told.asset_materialization_planned_data
    of_one = AssetMaterializationPlannedData(planned.asset_key, partition=_SOME_DATE)
    alone = event._replace(dagster_event=told._replace(event_specific_data=of_one))
    # Serialized once: that of another date differs by the date alone.
    text = dg.serialize_value(alone)
    return [{**row, "event": text.replace(_SOME_DATE, key), "partition": key} for key in dates.get_partition_keys()]
