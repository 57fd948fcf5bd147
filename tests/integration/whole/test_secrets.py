"""No password, key or token is left in a file, shown, or read off the list of processes."""

import os
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from adbc_driver_postgresql import dbapi

from tests.support.lakehouse import SHOP_SCHEMA
from tests.support.late_changes import SHOP
from tests.support.terminal import Command, Terminal, command_line
from tests.support.tls import PASSWORD, Server, tls_server
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("secrets")]

RANGE = ("2017-01-01", "2017-01-09")
# A word of each: as it is written, in a URL or in JSON.
SECRETS = ("pass-w0rd", "wr0ng-w0rd", "s3cr3t-passphrase", "s3cr3t-token", "s3cr3t-key", "s3cr3t-session")
ENVIRONMENT = {
    "PGPASSWORD": PASSWORD,
    "SPARK_REMOTE": "sc://spark.example.com:443/;token=s3cr3t-token",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "s3cr3t-key",
    "AWS_SESSION_TOKEN": "s3cr3t-session",
}


@pytest.fixture(scope="module")
def server(postgres_server: str) -> Iterator[Server]:  # noqa: ARG001 (makes the user that servers run as)
    with tls_server() as made:
        yield made


@pytest.fixture
def secretive(server: Server, tmp_path: Path) -> Iterator[tuple[Terminal, dict[str, str]]]:
    """A lakehouse whose settings have a secret wherever one may stand, and its environment."""
    shop = server.url(database="shop", sslpassword="s3cr3t-passphrase")
    terminal = Terminal(tmp_path / "home", shop, server.url(password="", sslpassword="s3cr3t-passphrase"))
    (tmp_path / "tmp").mkdir()
    with dbapi.connect(server.url(database="shop"), autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA IF EXISTS shop CASCADE")
    terminal.inspect().shop(SHOP_SCHEMA + SHOP)
    yield terminal, {**ENVIRONMENT, "TMPDIR": str(tmp_path / "tmp")}
    for process in terminal.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@contextmanager
def watched() -> Iterator[list[str]]:
    """Arguments of processes that show a secret at some time in the block."""
    shown: list[str] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.05):
            for process in psutil.process_iter(["cmdline"]):
                line = " ".join(process.info["cmdline"] or ())
                if any(secret in line for secret in SECRETS):
                    shown.append(line)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield shown
    finally:
        ended.set()
        looking.join()


def left_behind(folder: Path) -> list[str]:
    """Files that have a secret in them."""
    found = []
    for path in folder.rglob("*"):
        if stat.S_ISREG(path.lstat().st_mode):
            content = path.read_bytes()
            found += [f"{path}: {secret}" for secret in SECRETS if secret.encode() in content]
    return found


def assert_nothing_shown(done: "subprocess.CompletedProcess[str]") -> None:
    assert [secret for secret in SECRETS if secret in done.stdout + done.stderr] == []


def test_watch_sees_a_secret(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"\0password=pass-w0rd\0")
    assert left_behind(tmp_path) == [f"{tmp_path / 'kept'}: pass-w0rd"]
    with watched() as shown:
        subprocess.run(["/bin/sh", "-c", "sleep 1; true wr0ng-w0rd"], check=True)
    assert any("wr0ng-w0rd" in line for line in shown)


@pytest.mark.thorough
def test_run_that_succeeds_fails_or_is_killed_leaves_no_secret(
    server: Server, secretive: tuple[Terminal, dict[str, str]], tmp_path: Path
) -> None:
    terminal, environment = secretive
    with watched() as shown:
        done = terminal.run("backfill", *RANGE, **environment)
        assert done.returncode == 0, done.stderr
        assert_nothing_shown(done)
        assert left_behind(tmp_path) == []

        wrong = {
            "SHOP_DATABASE_URL": server.url("loader", "wr0ng-w0rd", "shop"),
            "WAREHOUSE_DATABASE_URL": server.url("loader", "wr0ng-w0rd"),
        }
        refused = terminal.run("backfill", *RANGE, **{**environment, **wrong})
        assert refused.returncode == 1
        assert "authentication failed" in refused.stderr
        assert_nothing_shown(refused)
        assert left_behind(tmp_path) == []

        killed = terminal.start("backfill", *RANGE, log=tmp_path / "killed.log", **environment)
        wait_for(lambda: dbt_is_at_work(server))
        children = psutil.Process(killed.pid).children(recursive=True)
        killed.kill()
        killed.wait()
        _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
    assert shown == []
    assert left_behind(tmp_path) == []


def dbt_is_at_work(server: Server) -> bool:
    with dbapi.connect(server.owner_url("postgres")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dbt'")
        return cursor.fetchall() != [(0,)]


MALFORMED = [
    "postgresql://loader:pass-w0rd@h/d?sslmod=require",
    "postgresql://loader:pass-w0rd@/x@h:5432/d",
    "postgresql://loader:pass-w0rd%zz@h/d",
    "postgresql://loader@h:pass-w0rd/d",
    "postgresql://[loader:pass-w0rd@h/d",
    "postgresql://loader:12/pass-w0rd@h/d",
    "postgres:loader:pass-w0rd@h/d",
    "host=h password=pass-w0rd",
    "mysql://loader:pass-w0rd@h/d",
]


@pytest.mark.parametrize("url", MALFORMED)
def test_malformed_url_is_not_shown(command: Command, url: str) -> None:
    for arguments in (["config"], ["psql", "warehouse"], ["reconcile"], ["demo"], ["shop", "simulate", "--days", "1"]):
        status, out, err = command(*arguments, SHOP_DATABASE_URL=url, WAREHOUSE_DATABASE_URL=url)
        assert "pass-w0rd" not in out + err
        assert status == 1 or (arguments == ["config"] and "cannot be read" in out)


def test_psql_connects_and_shows_no_password(server: Server, tmp_path: Path) -> None:
    url = server.url(sslmode="verify-full", sslrootcert=str(server.authority.certificate), keepalives_idle="30")
    terminal = Terminal(tmp_path, url, url)
    server.connections.clear()
    query = ["--", "-X", "-A", "-t", "-c", "select current_user, pg_sleep(1)"]
    with watched() as shown:
        done = terminal.run("psql", "warehouse", *query)
    assert (done.returncode, done.stdout, done.stderr) == (0, "loader|\n", "")
    assert shown == []
    assert server.connections == [True]


def test_psql_of_the_embedded_server_needs_no_path(tmp_path: Path, postgres_server: str) -> None:  # noqa: ARG001
    settings = {"LAKEHOUSE_HOME": str(tmp_path), "PGPORT": "6000", "PGSERVICE": "nowhere", "PGSSLMODE": "verify-full"}
    try:
        done = command_line(
            ["psql", "warehouse", "-X", "-A", "-t", "-c", "select current_user"], **settings, PATH="/nowhere"
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "postgres\n", "")
    finally:
        command_line(["stop"], **settings)
