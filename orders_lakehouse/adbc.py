"""Connections of ADBC to Postgres, of which each after the first takes a twentieth of the time.

ADBC asks a server for all its types before it connects, 60 ms for a connection that takes 3. What it has learned serves
later connections of the process to the same database, as long as there is no newer type.
"""

from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection, _SharedDatabase

# Rows of tables have types, too, which no column of ours has; and so have arrays.
_NEWEST_TYPE = "SELECT max(oid)::bigint FROM pg_type WHERE typtype <> 'c' AND typelem = 0"
_lock = Lock()
_learned: dict[str, tuple["_SharedDatabase", int]] = {}


def connected(url: str) -> "Connection":
    """Connect, without autocommit; like `adbc_driver_postgresql.dbapi.connect`, which raises the same errors.

    Args:
        url: Of a database.
    """
    from adbc_driver_manager import AdbcConnection
    from adbc_driver_manager.dbapi import Connection
    from adbc_driver_postgresql import dbapi

    database, newest = _remembered(url)
    if database is not None:
        try:
            connection: Connection = Connection(database, AdbcConnection(database._db))
        finally:
            database.close()
        if _newest_type(connection) == newest:
            return connection
        connection.close()
    connection = dbapi.connect(url)
    _remember(url, connection, _newest_type(connection))
    return connection


def _remembered(url: str) -> tuple["_SharedDatabase | None", int]:
    """What was learned, to be closed; it is shared, and goes with the last of those who hold it."""
    with _lock:
        database, newest = _learned.get(url, (None, 0))
        return (database.clone() if database else None), newest


def _remember(url: str, connection: "Connection", newest: int) -> None:
    with _lock:
        before, _ = _learned.get(url, (None, 0))
        _learned[url] = (connection._db.clone(), newest)
    if before is not None:
        before.close()


def _newest_type(connection: "Connection") -> int:
    try:
        with connection.cursor() as cursor:
            cursor.execute(_NEWEST_TYPE)
            ((newest,),) = cursor.fetchall()
        # Whoever gets the connection may still say how its transaction is isolated.
        connection.commit()
        return int(newest)
    except BaseException:
        connection.close()
        raise
