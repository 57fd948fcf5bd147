"""Connections to the shop and the warehouse, with errors that name the next step."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from orders_lakehouse.errors import DatabaseError as DatabaseError
from orders_lakehouse.errors import DatabaseUnavailableError as DatabaseUnavailableError
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.postgres.embedded import NO_DEFAULTS, embedded_server, embedded_url
from orders_lakehouse.runtime import adbc_pool
from orders_lakehouse.settings import settings

if TYPE_CHECKING:
    from adbc_driver_manager import Error
    from adbc_driver_manager.dbapi import Connection, Cursor

Database = Literal["shop", "warehouse"]
VARIABLE: dict[Database, str] = {"shop": "SHOP_DATABASE_URL", "warehouse": "WAREHOUSE_DATABASE_URL"}

# Seconds that a statement waits for a lock of another session. A short migration ends in that time.
LOCK_SECONDS = 30


def database_url(database: Database) -> str:
    """Return the URL of the environment, or else that of the embedded server, which is started if necessary."""
    given = settings().shop_database_url if database == "shop" else settings().warehouse_database_url
    return given if given is not None else embedded_url(database, embedded_server(settings().home))


def is_embedded(database: Database) -> bool:
    """Return whether a database belongs to the embedded server."""
    return (settings().shop_database_url if database == "shop" else settings().warehouse_database_url) is None


@contextmanager
def connect(database: Database) -> Iterator["Connection"]:
    """Connect to a database, in UTC and UTF-8, without autocommit; commit before the block ends.

    Raises:
        DatabaseUnavailableError: The database cannot be reached, the connection was lost, or a lock was not free within
            `LOCK_SECONDS`.
        DatabaseError: It refuses the user, the password or the database's name, or a statement fails.
    """
    from adbc_driver_manager import Error, OperationalError

    parts_of(database)
    url = database_url(database)
    try:
        connection = adbc_pool.connect(url)
    except OperationalError as error:
        if not _revived(database):
            raise _unreachable(error, database, url) from None
        try:
            connection = adbc_pool.connect(database_url(database))
        except OperationalError as again:
            raise _unreachable(again, database, url) from None
    try:
        with connection:
            with connection.cursor() as cursor:
                cursor.execute("SET TIME ZONE 'UTC'")
                cursor.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
            yield connection
    except Error as error:
        raise _failed(error, database, url) from error


@contextmanager
def read_alone(connection: "Connection", database: Database) -> Iterator[None]:
    """Read in a separate snapshot, so that the connection stays usable after a refused statement.

    ADBC cannot roll back to a savepoint after a failed statement, so each attempt is a transaction. Commit before the
    first one, because a rollback reverts the settings that `connect` has made.

    Raises:
        DatabaseUnavailableError: A lock was not free in time, or the statement was cancelled.
        DatabaseError: A statement is refused.
        Error: The connection is broken; `connect` explains the error.
    """
    from adbc_driver_manager import Error

    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        yield
    except Error as error:
        try:
            connection.rollback()
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            connection.commit()
        except Error:
            raise error from None
        raise _failed(error, database, database_url(database)) from error
    except ExpectedError:
        connection.rollback()
        raise
    connection.commit()


def batches(cursor: "Cursor") -> Iterator[Any]:
    """Yield the result of a statement in Arrow record batches; a broken connection raises an error of the database."""
    from adbc_driver_manager import AdbcStatusCode, OperationalError

    try:
        yield from cursor.fetch_record_batch()
    except OSError as error:
        # Arrow reports a broken connection as an OSError.
        raise OperationalError(str(error), status_code=AdbcStatusCode.IO) from error


def lock_by_name(cursor: "Cursor", name: str) -> None:
    """Take the lock of a name until the transaction ends; other processes with the same name wait, as does this one."""
    # The timeout is off, because the holder of the name may work longer than `LOCK_SECONDS`.
    cursor.execute("SET LOCAL lock_timeout = 0")
    cursor.execute(f"SELECT pg_advisory_xact_lock(hashtext('{name}'))")
    cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")


def value_of(cursor: "Cursor", query: str) -> Any:
    """Return the single value of a query that returns one row of one column."""
    cursor.execute(query)
    row = cursor.fetchone()
    assert row is not None, query  # noqa: S101 (an aggregate or a function call always has a row)
    return row[0]


def without_password(url: str) -> str:
    """Describe a database URL without its secrets."""
    parts = parse_url(url)
    if parts is None:
        return "a URL that cannot be read"
    shown = ("host", "port", "dbname", "user")
    return " ".join(f"{name}={parts[name]}" for name in shown if parts.get(name))


def parts_of(database: Database) -> dict[str, str]:
    """Return the parts of the current URL as libpq reads them.

    Raises:
        DatabaseError: The URL cannot be read.
    """
    parts = parse_url(database_url(database))
    if parts is None:
        raise _unreadable(database)
    return parts


def database_name(database: Database) -> str:
    """Return the name of a database; if the URL leaves it to libpq's defaults, ask the server."""
    given = parts_of(database).get("dbname")
    if given:
        return given
    with connect(database) as connection, connection.cursor() as cursor:
        return str(value_of(cursor, "SELECT current_database()"))


def parse_url(url: str) -> dict[str, str] | None:
    """Return the parts of a URL as libpq reads them; None if it cannot, or if part of a secret is in another part."""
    import psycopg2
    from psycopg2.extensions import parse_dsn

    try:
        parts: dict[str, str] = parse_dsn(url)
    except psycopg2.ProgrammingError:
        return None
    # Several hosts may have a port each, or none.
    port_is_number = str(parts.get("port") or "5432").replace(",", "0").isdigit()
    return parts if port_is_number and not any("@" in str(parts.get(name)) for name in ("host", "dbname")) else None


# SQLSTATE classes of transient errors: connection, resources, operator intervention, serialization, deadlock.
_TRANSIENT = re.compile(r"^(08|53|57|40001|40P01)")
_LOCK_TIMEOUT = "55P03"
_DISK_FULL = "53100"
_CANCELLED = "57014"
_REFUSED = re.compile(
    r"authentication failed|no pg_hba.conf entry|does not exist|permission denied|no password supplied|"
    r"not permitted to log in|unrecognized configuration parameter|certificate|private key|SSL was required|"
    r"(?:channel binding|GSSAPI).* required",
    re.IGNORECASE,
)
# Texts of a server that runs but refuses connections for now: all are taken, it starts, or it shuts down.
_FULL = re.compile(r"too many (?:connections|clients)|remaining connection slots")
_NOT_NOW = re.compile(rf"{_FULL.pattern}|the database system is|not yet accepting connections")
# Texts of errors that come without a SQLSTATE.
_LOCK_TIMEOUT_TEXT = "due to lock timeout"
_STATEMENT_TIMEOUT_TEXT = "due to statement timeout"
_TRANSIENT_TEXT = re.compile(
    r"connection to server|server closed the connection|terminating connection|connection already closed|no connection|"
    rf"{_NOT_NOW.pattern}|could not (?:send|receive) data|deadlock detected|could not serialize"
)


def _unreachable(error: Exception, database: Database, url: str) -> ExpectedError:
    where, text = _where(database, url), str(error)
    # libpq tries each address of the host, mostly with the same error.
    attempts = re.split(r"connection to server .+? failed:\s*", text)
    message = "; ".join(dict.fromkeys(_message(attempt, url) for attempt in attempts[1:] or attempts))
    # `where` names the user already.
    message = re.sub(r' for user "[^"]*"', "", message)
    if _REFUSED.search(text):
        return DatabaseError(f"{where} refuses the connection: {message}. Correct {VARIABLE[database]}.")
    if _FULL.search(text):
        return DatabaseUnavailableError(
            f"{where} has no free connection: {message}. Close other connections, or raise the limit of the role, "
            "the database (CONNECTION LIMIT) or the server (max_connections)."
        )
    if _NOT_NOW.search(text):
        return DatabaseUnavailableError(f"{where} accepts no connection at the moment: {message}")
    return DatabaseUnavailableError(
        f"{where} cannot be reached: {message}. Is it running, and is {VARIABLE[database]} right?"
    )


def _failed(error: "Error", database: Database, url: str) -> ExpectedError:
    from adbc_driver_manager import OperationalError

    state, message = error.sqlstate, _message(str(error), url)
    if state == _LOCK_TIMEOUT:
        return _locked(database)
    if state == _CANCELLED and _STATEMENT_TIMEOUT_TEXT in message:
        return _too_slow(database, message)
    if state == _DISK_FULL:
        return DatabaseError(f"{_where(database, url)} has no room left: {message}. Make room there, then run again.")
    if _TRANSIENT.match(state) if state is not None else isinstance(error, OperationalError):
        gone = state is None or state.startswith(("08", "57P"))
        return DatabaseUnavailableError(
            f"{_where(database, url)} {'closed the connection' if gone else 'failed for the moment'}: {message}"
        )
    return DatabaseError(f"{_where(database, url)} refuses a statement: {message}")


def error_from_output(database: Database, message: str, output: str = "") -> ExpectedError:
    """Return an error for another program's session in a database, from the text that the program printed.

    Args:
        database: The database of the session.
        message: Text that the error shows.
        output: Complete output that decides the type of the error; the message by default.
    """
    output = output or message
    if _LOCK_TIMEOUT_TEXT in output:
        return _locked(database, message)
    if _STATEMENT_TIMEOUT_TEXT in output:
        return _too_slow(database, message)
    is_transient = _TRANSIENT_TEXT.search(output) and not _REFUSED.search(output)
    return (DatabaseUnavailableError if is_transient else DatabaseError)(message)


def _message(text: str, url: str) -> str:
    """Return the message of a server or its driver in one line, without secrets and without the statement."""
    line = re.sub(r"^.*?(?:ERROR|FATAL|PANIC):\s+|^[A-Z_]+: (?:\[libpq\] )?(?:Failed to connect: )?", "", text.strip())
    line = re.sub(r"\.? SQLSTATE: \w+$", "", line.partition("\n")[0]).strip()
    parts = parse_url(url) or {}
    for secret in (parts.get("password"), parts.get("sslpassword")):
        line = line.replace(secret, "***") if secret else line
    return line


def _where(database: Database, url: str) -> str:
    return f"the {database} database ({without_password(url)})"


def _too_slow(database: Database, message: str) -> DatabaseError:
    variable = VARIABLE[database]
    return DatabaseError(
        f"{_where(database, database_url(database))} ended a statement that took longer than its statement_timeout: "
        f"{message}. Set a longer one, or 0 for none, for the user (ALTER ROLE ... SET statement_timeout = '1h') or in "
        f"{variable} (options=-c%20statement_timeout%3D1h), then run again."
    )


def _locked(database: Database, message: str = "") -> DatabaseUnavailableError:
    holders = _lock_holders(database)
    return DatabaseUnavailableError(
        f"the {database} database has a lock that was not released within {LOCK_SECONDS} s"
        + (f" ({message})" if message else "")
        + (
            f": {'; '.join(holders)}. Let that session end, or end it with pg_terminate_backend(pid), and run again."
            if holders
            else "; no session holds it any more. Run again."
        )
    )


def _lock_holders(database: Database) -> list[str]:
    """Describe the holders of blocking locks, as far as this user may see them; the strongest and oldest first."""
    from adbc_driver_manager import Error

    # Only one lock mode blocks readers. Loads and builds replace tables, so any reader of these blocks them.
    in_the_way = "l.mode = 'AccessExclusiveLock'"
    if database == "warehouse":
        ours = (settings().lake_schema, settings().staging_schema, settings().marts_schema)
        in_the_way += f" OR c.relnamespace::regnamespace::text IN {ours}"
    query = f"""
        SELECT format(
            '%s has %s since %s, held by pid %s (user %s, application %s): %s', c.oid::regclass, l.mode,
            coalesce(to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), 'a time unknown'), a.pid,
            coalesce(a.usename, 'unknown'), coalesce(nullif(a.application_name, ''), 'unknown'),
            coalesce(upper(substring(a.query FROM '^\s*(\w+(\s+\w+)?)')), 'statement unknown')
        )
        FROM pg_locks AS l
        INNER JOIN pg_stat_activity AS a ON l.pid = a.pid
        INNER JOIN pg_class AS c ON l.relation = c.oid
        WHERE l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relnamespace <> 'pg_catalog'::regnamespace
            AND l.pid <> pg_backend_pid() AND ({in_the_way})
        ORDER BY l.mode = 'AccessExclusiveLock' DESC, a.xact_start, c.oid
        LIMIT 5
    """
    try:
        with adbc_pool.connect(database_url(database)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return [holder for (holder,) in cursor.fetchall()]
    except Error:
        # The error about the lock is reported anyway, without its holders.
        return []


def _unreadable(database: Database) -> DatabaseError:
    return DatabaseError(
        f"{VARIABLE[database]} is not a URL that Postgres understands; expected "
        "postgresql://user:password@host:port/database. In a password, write @ as %40, : as %3A, / as %2F, ? as %3F, "
        "# as %23 and % as %25."
    )


def shown_url(database: Database) -> str:
    """Return the current URL for people and their tools; for the embedded server, only its socket and database."""
    return database_url(database).removesuffix(f"&{NO_DEFAULTS}")


def _revived(database: Database) -> bool:
    """Start the embedded server again after a failed connection; return whether the database is embedded."""
    if not is_embedded(database):
        return False
    embedded_server.cache_clear()
    embedded_server(settings().home)
    return True
