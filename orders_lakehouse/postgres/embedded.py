"""Create, start and stop the embedded Postgres server. Connections belong in `connections`.

Postgres refuses to run as root, so root runs it as the user `embedded_postgres` or as the owner of the data. Existing
folders keep their modes. The exception is a closed folder of root: the group of that user may then pass through it.
"""

import fcntl
import os
import shlex
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from orders_lakehouse.errors import DatabaseError, DatabaseUnavailableError
from orders_lakehouse.machine.private_files import make_home
from orders_lakehouse.postgres.server_folders import (
    data_directory,
    make_place,
    packaged_programs,
    place_of,
    programs_for,
    socket_folder,
)
from orders_lakehouse.postgres.server_process import START_SECONDS, server_process, shut_down, wait_until_gone
from orders_lakehouse.postgres.server_user import (
    ServerUser,
    allow_passage,
    call,
    can_enter,
    embedded_user,
    make_folder,
    owner_of,
    user_with,
)
from orders_lakehouse.runtime.adbc_pool import driver

SUPERUSER = "postgres"
_DATABASES = ("shop", "warehouse")
_MAP = "lakehouse"
_HBA = f"""\
# Written by orders_lakehouse: the users of {_MAP} in pg_ident.conf, as the kernel names them; no network, no password.
local all all peer map={_MAP}
"""

# Options of the embedded server. Its data can be made again from the sample or from raw, so commits do not wait for
# the disk. Nobody follows its log, so a table that is filled in the transaction that makes it is synced, not logged.
_TUNING = {
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # Data is mostly in the system's cache, and other processes would take longer to fetch it.
    "io_method": "sync",
    # dbt works on two models or tests at a time, and each gets half of the cores.
    "max_parallel_workers_per_gather": str(min(2, max(0, (os.cpu_count() or 1) // 2 - 1))),
    # Inserted rows need no vacuum, and it would start in the middle of the tests of a first build.
    "autovacuum_vacuum_insert_threshold": "-1",
    "max_wal_size": "4GB",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "checkpoint_timeout": "15min",
    "jit": "off",
}


# Values for all parameters that libpq would otherwise take from the environment of the configured databases.
NO_DEFAULTS = (
    "port=5432&hostaddr=&sslmode=disable&sslnegotiation=postgres&gssencmode=disable&channel_binding=disable&"
    "require_auth=&requirepeer=&target_session_attrs=any&load_balance_hosts=disable&options="
)


def embedded_url(database: str, socket_directory: str) -> str:
    """Return the URL of a database of the embedded server."""
    return f"postgresql://{SUPERUSER}@/{database}?host={quote(socket_directory, safe='/')}&{NO_DEFAULTS}"


@lru_cache(maxsize=4)
def embedded_server(home: Path) -> str:
    """Start the embedded server if it does not run, and make both databases.

    Args:
        home: LAKEHOUSE_HOME; processes with the same home share the server.

    Returns:
        The directory of its unix socket, which no other user can enter.

    Raises:
        DatabaseError: The package of the embedded server is not installed, or a folder belongs to another user.
        DatabaseUnavailableError: The server does not start.
    """
    packaged_programs()
    data = data_directory(home)
    try:
        _end_trusting_server(data)
        make_home(home)
        with (home / "postgres.lock").open("w") as lock:
            # The lock is needed because the process file of a starting server is still empty.
            fcntl.flock(lock, fcntl.LOCK_EX)
            user = _server_user(home)
            data = _prepare_data(home, user)
            _restrict(data, user)
            if not embedded_server_runs(home):
                wait_until_gone(data)
                for left in (data / "postmaster.pid", *data.glob(".s.PGSQL.*.lock")):
                    left.unlink(missing_ok=True)
                _start(home, data, user)
            socket_directory = _socket_directory_of(data)
    except PermissionError as error:
        raise DatabaseError(
            f"the embedded Postgres of {home} cannot be used: {error}. Run as the user who made it, or set another "
            "LAKEHOUSE_HOME."
        ) from error
    except subprocess.SubprocessError as error:
        message = str(getattr(error, "stderr", None) or error).strip().partition("\n")[0]
        raise DatabaseUnavailableError(
            f"the embedded Postgres in {data} does not start: {message}. Its log is {data / 'log'}"
        ) from error
    url = embedded_url("postgres", socket_directory)
    _wait_until_started(url, data)
    _make_databases(url)
    return socket_directory


def embedded_server_runs(home: Path) -> bool:
    """Return whether the embedded server runs; the file of a killed server does not count."""
    return server_process(data_directory(home)) is not None


def stop_embedded_server(home: Path) -> bool:
    """Stop the embedded server; return whether it ran."""
    data = data_directory(home)
    process = server_process(data)
    if process is None:
        return False
    shut_down(process, data)
    embedded_server.cache_clear()
    return True


def remove_embedded_server(home: Path) -> None:
    """Stop the embedded server and remove its files outside of LAKEHOUSE_HOME; the caller removes the home."""
    stop_embedded_server(home)
    place = place_of(home)
    if place is not None:
        shutil.rmtree(place)
        (home / "postgres.place").unlink()


def _server_user(home: Path) -> ServerUser:
    """Return the owner of the data; without data, return this user, or `embedded_postgres` if this user is root."""
    data = data_directory(home)
    if data.exists() and (os.geteuid() != 0 or data.stat().st_uid != 0):
        return owner_of(data)
    if os.geteuid() != 0:
        return user_with(os.geteuid())
    return embedded_user()


def _prepare_data(home: Path, user: ServerUser) -> Path:
    """Return the folder of the data; create it if necessary."""
    data = data_directory(home)
    allow_passage(home, user)
    if place_of(home) is not None:
        make_place(home, user)
    if (data / "PG_VERSION").exists():
        stays = not user.is_other or server_process(data) is not None or can_enter(user, data)
        return data if stays else _move_elsewhere(home, data, user)
    if data.exists() and any(data.iterdir()):
        raise DatabaseError(
            f"{data} holds other files than Postgres's; expected an empty folder or none. Move it away."
        )
    if user.is_other and not can_enter(user, home):
        data = make_place(home, user) / "data"
    # The folder is renamed once it is complete, so that a killed initdb leaves nothing that looks like data.
    new = data.with_name(f"{data.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    make_folder(new, user)
    options = [option for name, value in _TUNING.items() for option in ("-c", f"{name}={value}")]
    # With checksums, the first reader of a loaded table would write the table to the log again.
    options += ["--auth=peer", "--encoding=utf8", "--no-data-checksums", "-U", SUPERUSER]
    call(programs_for(home, user) / "initdb", "-D", new, *options, user=user)
    if data.exists():
        data.rmdir()
    return new.rename(data)


def _move_elsewhere(home: Path, data: Path, user: ServerUser) -> Path:
    """Move data out of a folder that an earlier version opened for the server's user and that is closed now."""
    wait_until_gone(data)
    moved = make_place(home, user) / "data"
    new = moved.with_name("data.new")
    for left in (new, moved):
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(data, new, symlinks=True, ignore=shutil.ignore_patterns(".s.PGSQL.*", "postmaster.pid"))
    for path in (new, *new.rglob("*")):
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
    new.rename(moved)
    shutil.rmtree(data)
    return moved


def _restrict(data: Path, user: ServerUser) -> None:
    """Let only this user and the server's user connect, as the kernel identifies them, also to data of old versions."""
    names = dict.fromkeys([user_with(os.geteuid()).name, user.name])
    lines = [f'{_MAP} "{name.replace(chr(34), chr(34) * 2)}" {SUPERUSER}\n' for name in names]
    changed = [
        _replace(data / name, text, user) for name, text in (("pg_hba.conf", _HBA), ("pg_ident.conf", "".join(lines)))
    ]
    if stat.S_IMODE(data.stat().st_mode) != 0o700:
        data.chmod(0o700)
    server = server_process(data)
    if any(changed) and server is not None:
        # The signal makes the server read both files again.
        os.kill(server, signal.SIGHUP)


def _replace(path: Path, text: str, user: ServerUser) -> bool:
    """Write a file atomically; return whether its content changed."""
    if path.exists() and path.read_text(errors="replace") == text:
        return False
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as new:
        new.write(text)
    os.chown(new.name, user.uid, user.gid)
    Path(new.name).rename(path)
    return True


def _end_trusting_server(data: Path) -> None:
    """Stop a server of an earlier version: it has root's group, and would soon lose access to its own files."""
    process, rules = server_process(data), data / "pg_hba.conf"
    if process is not None and rules.exists() and rules.read_text(errors="replace") != _HBA:
        shut_down(process, data)


def _start(home: Path, data: Path, user: ServerUser) -> None:
    folder = socket_folder(home, data, user)
    options = f"-h '' -k {shlex.quote(str(folder))} -c unix_socket_permissions=0700"
    arguments: list[str | Path] = [
        "-D",
        data,
        "-o",
        options,
        "-l",
        data / "log",
        "-w",
        "-t",
        str(START_SECONDS),
        "start",
    ]
    call(programs_for(home, user) / "pg_ctl", *arguments, user=user)


def _socket_directory_of(data: Path) -> str:
    return (data / "postmaster.pid").read_text().splitlines()[4]


def _wait_until_started(url: str, data: Path) -> None:
    """Wait while the server recovers from a crash; until then it runs, but refuses connections."""
    dbapi = driver().dbapi
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            dbapi.connect(url).close()
        except dbapi.OperationalError as error:
            if time.monotonic() > until:
                raise DatabaseUnavailableError(
                    f"the embedded Postgres in {data} accepts no connection after {START_SECONDS} s: "
                    f"{str(error).strip().splitlines()[-1]}. Its log is {data / 'log'}"
                ) from error
            time.sleep(0.1)
        else:
            return


def _make_databases(url: str) -> None:
    with driver().dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        # The lock keeps two processes that start at once from creating the same database.
        cursor.execute("SELECT pg_advisory_lock(7021994)")
        cursor.execute("SELECT datname FROM pg_database")
        existing = {name for (name,) in cursor.fetchall()}
        for name in _DATABASES:
            if name not in existing:
                cursor.execute(f"CREATE DATABASE {name}")
        cursor.execute("SELECT pg_advisory_unlock(7021994)")
        cursor.fetchall()
