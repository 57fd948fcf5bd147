"""ADBC connections to Postgres that reuse what an earlier connection has learned about the database.

ADBC asks a server for all its types before it connects: this takes 38 ms, the connection itself 3. The next connection
to the same database reuses the answer while the types are the same. One connection at a time uses it.

Text is always UTF-8, whatever the server, the role or the environment say. Arrow does not check the bytes, and a table
with other bytes could never be read again.
"""

from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from orders_lakehouse.runtime.blocked_imports import without

if TYPE_CHECKING:
    from adbc_driver_manager import AdbcDatabase
    from adbc_driver_manager.dbapi import Connection

# Query for a hash of the types of a database, without row types and arrays, which no column of this project has.
_TYPES = "SELECT md5(string_agg(oid::text, ',' ORDER BY oid)) FROM pg_type WHERE typtype <> 'c' AND typelem = 0"

_ENCODING = "SET client_encoding = 'UTF8'"


class _Loan:
    """What ADBC has learned about a database, lent to one connection, which closes it at its end.

    Attributes:
        types: Hash of the types at that time; None while it is not known.
    """

    def __init__(self, url: str, learned: "AdbcDatabase", types: str | None) -> None:
        self._url, self._learned, self.types = url, learned, types

    def connect(self) -> "Connection":
        """Connect with what was learned."""
        from adbc_driver_manager import AdbcConnection
        from adbc_driver_manager.dbapi import Connection

        native = None
        try:
            native = AdbcConnection(self._learned)
            # `Connection` only needs an object with a `close` as its database.
            connection: Connection = Connection(self, native)  # type: ignore[arg-type]
        except BaseException:
            if native is not None:
                native.close()
            self.close()
            raise
        return connection

    def close(self) -> None:
        """Keep it for the next connection if its types are known, else close it."""
        if self.types is None:
            self._learned.close()
        else:
            with _lock:
                _idle.setdefault(self._url, []).append(self)


_lock = Lock()
_idle: dict[str, list[_Loan]] = {}


@cache
def driver() -> Any:
    """Import the package `adbc_driver_postgresql` and its `dbapi` at the first call, and return it.

    It imports `pyarrow.dataset`, which imports pandas if it is installed; so pandas is hidden meanwhile.
    """
    with without("pandas"):
        import adbc_driver_postgresql
        import adbc_driver_postgresql.dbapi
    return adbc_driver_postgresql


def connect(url: str) -> "Connection":
    """Connect without autocommit, like `adbc_driver_postgresql.dbapi.connect`, with the same errors.

    Args:
        url: URL of a database.
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
    # The hash from before learning is kept: if types changed meanwhile, the next connection learns again.
    prepared = _prepare(connection)
    loan.types = types or prepared
    return connection


def _prepare(connection: "Connection") -> str:
    """Set the encoding of a connection, and return the hash of its database's types."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(_ENCODING)
            cursor.execute(_TYPES)
            ((types,),) = cursor.fetchall()
        # After the commit, the caller can set the isolation of its transaction, and a rollback keeps the encoding.
        connection.commit()
        return str(types)
    except BaseException:
        connection.close()
        raise
