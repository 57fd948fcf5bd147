"""Connections of ADBC to Postgres, of which each after the first takes a twentieth of the time.

ADBC asks a server for all its types before it connects, 60 ms for a connection that takes 3. What it has learned is
lent to the next connection of the process to the same database, to one at a time, while the types are the same.

Text passes as UTF-8, whatever the server, the role or the environment would have it be: Arrow takes the bytes as they
come, and a table with others could never be read again.
"""

from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from orders_lakehouse.runtime.blocked_imports import without

if TYPE_CHECKING:
    from adbc_driver_manager import AdbcDatabase
    from adbc_driver_manager.dbapi import Connection

# Rows of tables have types, too, which no column of ours has; and so have arrays.
_TYPES = "SELECT md5(string_agg(oid::text, ',' ORDER BY oid)) FROM pg_type WHERE typtype <> 'c' AND typelem = 0"

_ENCODING = "SET client_encoding = 'UTF8'"


class _Loan:
    """What was learned of a database, for one connection, which closes it in the end.

    Attributes:
        types: Of the database when it was learned; None while that is not known.
    """

    def __init__(self, url: str, learned: "AdbcDatabase", types: str | None) -> None:
        self._url, self._learned, self.types = url, learned, types

    def connect(self) -> "Connection":
        """Connect by it."""
        from adbc_driver_manager import AdbcConnection
        from adbc_driver_manager.dbapi import Connection

        native = None
        try:
            native = AdbcConnection(self._learned)
            # Whatever has a `close` may stand for a database.
            connection: Connection = Connection(self, native)  # type: ignore[arg-type]
        except BaseException:
            if native is not None:
                native.close()
            self.close()
            raise
        return connection

    def close(self) -> None:
        """Keep it for the next connection, unless it is not known whether it serves one."""
        if self.types is None:
            self._learned.close()
        else:
            with _lock:
                _idle.setdefault(self._url, []).append(self)


_lock = Lock()
_idle: dict[str, list[_Loan]] = {}


@cache
def driver() -> Any:
    """The package `adbc_driver_postgresql`, imported at the first call; its `dbapi` is, too.

    `pyarrow.dataset`, which it imports, would import pandas wherever that is installed.
    """
    with without("pandas"):
        import adbc_driver_postgresql
        import adbc_driver_postgresql.dbapi
    return adbc_driver_postgresql


def connect(url: str) -> "Connection":
    """Connect, without autocommit; like `adbc_driver_postgresql.dbapi.connect`, which raises the same errors.

    Args:
        url: Of a database.
    """
    with _lock:
        idle = _idle.get(url)
        loan = idle.pop() if idle else None
    types = None
    if loan is not None:
        connection = loan.connect()
        types = _prepare(connection)
        if types == loan.types:
            return connection
        loan.types = None
        connection.close()
    loan = _Loan(url, driver().connect(url), None)
    connection = loan.connect()
    # What is newer than it was before is learned, and learned again the next time.
    prepared = _prepare(connection)
    loan.types = types or prepared
    return connection


def _prepare(connection: "Connection") -> str:
    """Set a connection's encoding; returns the types of its database."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(_ENCODING)
            cursor.execute(_TYPES)
            ((types,),) = cursor.fetchall()
        # Whoever gets the connection may still say how its transaction is isolated; and a rollback changes no encoding.
        connection.commit()
        return str(types)
    except BaseException:
        connection.close()
        raise
