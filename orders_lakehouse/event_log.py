"""Dagster's event log on SQLite, cheaper.

Dagster opens a connection for every event and closes it again, and the last connection to close makes SQLite copy its
write-ahead log back and wait for the disk. A range of a year is ten thousand events. One idle connection to each
database spares the copying, and `synchronous=NORMAL` the waiting: with a write-ahead log that is safe when a process is
killed; a power cut may cost the last events, which are history, not data.
"""

import sqlite3
from typing import Any

_held: dict[str, sqlite3.Connection] = {}


def keep_sqlite_open() -> None:
    """Hold every SQLite database that this process connects to open, until the process ends."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "connect", _hold):
        event.listen(Engine, "connect", _hold)


def _hold(connection: Any, _record: Any) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    connection.execute("PRAGMA synchronous=NORMAL")
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    if path and path not in _held:
        held = sqlite3.connect(path, check_same_thread=False)
        held.execute("SELECT count(*) FROM sqlite_master").fetchone()
        _held[path] = held
