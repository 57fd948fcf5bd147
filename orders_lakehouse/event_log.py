"""Dagster's event log on SQLite, with engines that are kept.

Dagster's own storage makes an engine and opens a connection for every event and closes both again: SQL is compiled
anew, and the last connection to close makes SQLite copy its write-ahead log back and wait for the disk. A range of a
year is ten thousand events. This storage, named in dagster.yaml, is the same one with an engine kept for each file.

`synchronous=NORMAL` spares the waiting for the disk: with a write-ahead log that is safe when a process is killed; a
power cut may cost the last events, which are history, not data.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

# The storage that dagster.yaml may name by this very path; there is no other way to refine it.
from dagster._core.storage.event_log import SqliteEventLogStorage
from sqlalchemy import Connection, Engine, StaticPool, create_engine, event

# A file for each run, and the index over all.
_KEPT = 16
_BUSY_SECONDS = 30


class KeptSqliteEventLogStorage(SqliteEventLogStorage):
    """Dagster's SQLite event log in DAGSTER_HOME/history/runs, where the default one keeps it."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        """Nothing to configure."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:  # noqa: ARG003
        """Made by Dagster from dagster.yaml."""
        return cls(os.path.join(os.environ["DAGSTER_HOME"], "history", "runs"), inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock, self._engine(shard).begin() as connection:
            yield connection

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
