"""The embedded Postgres server: how it is made, starts and stops. Connections belong in `connections`.

Postgres refuses to run as root. Root runs it as the user `embedded_postgres`, or as the user who owns the data. No
folder that exists is opened for that user, except a closed one of root's own, which that user's group may then pass.
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
    call,
    can_enter,
    let_pass,
    made_user,
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


# Each parameter that libpq would take from the environment, which means the databases that are configured.
NO_DEFAULTS = (
    "port=5432&hostaddr=&sslmode=disable&sslnegotiation=postgres&gssencmode=disable&channel_binding=disable&"
    "require_auth=&requirepeer=&target_session_attrs=any&load_balance_hosts=disable&options="
)


def embedded_url(database: str, socket_directory: str) -> str:
    """URL of a database of the embedded server."""
    return f"postgresql://{SUPERUSER}@/{database}?host={quote(socket_directory, safe='/')}&{NO_DEFAULTS}"


@lru_cache(maxsize=4)
def embedded_server(home: Path) -> str:
    """Start the embedded server if it does not run, and make both databases.

    Args:
        home: LAKEHOUSE_HOME; every process that has the same one shares the server.

    Returns:
        The directory of its unix socket, which nobody else can enter.

    Raises:
        DatabaseError: The package of the embedded server is not installed, or a folder is not this user's.
        DatabaseUnavailableError: The server does not start.
    """
    packaged_programs()
    data = data_directory(home)
    try:
        _end_trusting_server(data)
        make_home(home)
        with (home / "postgres.lock").open("w") as lock:
            # One at a time: a server that is about to start has a file that says nothing yet.
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
        said = str(getattr(error, "stderr", None) or error).strip().partition("\n")[0]
        raise DatabaseUnavailableError(
            f"the embedded Postgres in {data} does not start: {said}. Its log is {data / 'log'}"
        ) from error
    url = embedded_url("postgres", socket_directory)
    _wait_until_started(url, data)
    _make_databases(url)
    return socket_directory


def embedded_server_runs(home: Path) -> bool:
    """Whether the embedded server runs; a server that was killed leaves its file behind."""
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
    """Stop the embedded server and remove what it has outside of LAKEHOUSE_HOME, before the home itself is removed."""
    stop_embedded_server(home)
    place = place_of(home)
    if place is not None:
        shutil.rmtree(place)
        (home / "postgres.place").unlink()


def _server_user(home: Path) -> ServerUser:
    """The owner of the data; without data, this user, or `embedded_postgres` where this user is root."""
    data = data_directory(home)
    if data.exists() and (os.geteuid() != 0 or data.stat().st_uid != 0):
        return owner_of(data)
    if os.geteuid() != 0:
        return user_with(os.geteuid())
    return made_user()


def _prepare_data(home: Path, user: ServerUser) -> Path:
    """Return the folder of the data, which is made where there is none."""
    data = data_directory(home)
    let_pass(home, user)
    if place_of(home) is not None:
        make_place(home, user)
    if (data / "PG_VERSION").exists():
        stays = not user.is_other or server_process(data) is not None or can_enter(user, data)
        return data if stays else _move_elsewhere(home, data, user)
    if data.exists() and any(data.iterdir()):
        raise DatabaseError(f"{data} holds no data of Postgres; expected none or an empty folder. Move it away.")
    if user.is_other and not can_enter(user, home):
        data = make_place(home, user) / "data"
    # A folder gets its name once it is whole: a killed initdb leaves nothing that looks like data.
    new = data.with_name(f"{data.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    make_folder(new, user)
    options = [option for name, value in _TUNING.items() for option in ("-c", f"{name}={value}")]
    # With checksums, whoever reads a table first after a load writes it to the log once more.
    options += ["--auth=peer", "--encoding=utf8", "--no-data-checksums", "-U", SUPERUSER]
    call(programs_for(home, user) / "initdb", "-D", new, *options, user=user)
    if data.exists():
        data.rmdir()
    return new.rename(data)


def _move_elsewhere(home: Path, data: Path, user: ServerUser) -> Path:
    """Move data out of a folder that an earlier version had opened for the server's user, and that is closed again."""
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
    """Let in by the kernel's word who this user and the server's are, also to data that trusted everybody before."""
    names = dict.fromkeys([user_with(os.geteuid()).name, user.name])
    lines = [f'{_MAP} "{name.replace(chr(34), chr(34) * 2)}" {SUPERUSER}\n' for name in names]
    changed = [
        _replace(data / name, text, user) for name, text in (("pg_hba.conf", _HBA), ("pg_ident.conf", "".join(lines)))
    ]
    if stat.S_IMODE(data.stat().st_mode) != 0o700:
        data.chmod(0o700)
    server = server_process(data)
    if any(changed) and server is not None:
        # The server reads both files again.
        os.kill(server, signal.SIGHUP)


def _replace(path: Path, text: str, user: ServerUser) -> bool:
    """Give a file its content, whole or not at all; return whether it had another one."""
    if path.exists() and path.read_text(errors="replace") == text:
        return False
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as new:
        new.write(text)
    os.chown(new.name, user.uid, user.gid)
    Path(new.name).rename(path)
    return True


def _end_trusting_server(data: Path) -> None:
    """End a server that an earlier version started. It has root's group, and could not pass to its own files soon."""
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
    """Wait while the server recovers from a crash: it runs then, and refuses connections."""
    dbapi = driver().dbapi
    until = time.monotonic() + START_SECONDS
    while True:
        try:
            dbapi.connect(url).close()
        except dbapi.OperationalError as error:
            if time.monotonic() > until:
                raise DatabaseUnavailableError(
                    f"the embedded Postgres in {data} does not let anybody in after {START_SECONDS} s: "
                    f"{str(error).strip().splitlines()[-1]}. Its log is {data / 'log'}"
                ) from error
            time.sleep(0.1)
        else:
            return


def _make_databases(url: str) -> None:
    with driver().dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        # Two processes that start at once make each database once.
        cursor.execute("SELECT pg_advisory_lock(7021994)")
        cursor.execute("SELECT datname FROM pg_database")
        there = {name for (name,) in cursor.fetchall()}
        for name in _DATABASES:
            if name not in there:
                cursor.execute(f"CREATE DATABASE {name}")
        cursor.execute("SELECT pg_advisory_unlock(7021994)")
        cursor.fetchall()
