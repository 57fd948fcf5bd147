"""Loader and dbt connect alike, by every part of a URL and by libpq's environment; what passes is tried again."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from adbc_driver_postgresql import dbapi

from orders_lakehouse.defs.resources import warehouse_for_dbt
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.postgres.connections import (
    DatabaseError,
    DatabaseUnavailableError,
    connect,
    error_from_output,
    value_of,
)
from orders_lakehouse.postgres.embedded import embedded_server, stop_embedded_server
from orders_lakehouse.runtime.dbt_server import ADDRESS, COMMAND, KeptDbt
from orders_lakehouse.settings import DBT_PROJECT, settings
from tests.support.tls import PASSWORD, Server, tls_server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("connections")]

SEEN = """
    select concat_ws(' ', 'seen', current_user, current_database(), current_setting('statement_timeout'),
        current_setting('application_name'), current_setting('client_encoding'))
"""
Url = Callable[..., str]


@pytest.fixture(scope="module")
def server(postgres_server: str) -> Iterator[Server]:  # noqa: ARG001 (makes the user that servers run as)
    with tls_server() as made:
        yield made


@pytest.fixture(scope="module")
def kept() -> Iterator[KeptDbt]:
    made = KeptDbt()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dbt project without models, with the profile of ours."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "dbt_project.yml").write_text("{name: p, profile: orders_lakehouse, config-version: 2}")
    (folder / "profiles.yml").write_text((DBT_PROJECT / "profiles.yml").read_text())
    return folder


@pytest.fixture
def by_loader(monkeypatch: pytest.MonkeyPatch, clean_settings: None) -> Callable[..., str]:  # noqa: ARG001
    """What the server sees of the loader, or the type and the text of its error."""

    def look(url: str, sql: str = SEEN, **variables: str) -> str:
        for name, value in {"WAREHOUSE_DATABASE_URL": url, **variables}.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()
        try:
            with connect("warehouse") as connection, connection.cursor() as cursor:
                return str(value_of(cursor, sql))
        except ExpectedError as error:
            return f"{type(error).__name__}: {error}"

    return look


@pytest.fixture
def by_dbt(kept: KeptDbt, project: Path) -> Callable[..., str]:
    """What the server sees of dbt in the same environment, after the loader has connected; or dbt's output."""

    def look(sql: str = SEEN) -> str:
        kept.set_variables({**warehouse_for_dbt(), "DBT_WAREHOUSE_DBNAME": "warehouse"})
        arguments = ["--log-format", "json", "show", "--inline", sql, "--output", "json", "--limit", "-1"]
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=project,
            env={**os.environ, ADDRESS: kept.address},
            capture_output=True,
            text=True,
        )
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        shown = [event["data"]["preview"] for event in events if "preview" in event["data"]]
        if shown:
            return str(next(iter(json.loads(shown[0])[0].values())))
        output = "\n".join(event["info"]["msg"] for event in events)
        error = error_from_output("warehouse", output)
        return f"{type(error).__name__}: {error}"

    return look


# Name: parts of the URL, variables, and what the server sees.
def _ways(server: Server) -> dict[str, tuple[str, dict[str, str], str]]:
    trusted, folder = str(server.authority.certificate), server.folder / "certificates"
    certificate, key = server.authority.issue("by_certificate")
    seen = "seen loader warehouse 0 here UTF8"
    here = {"application_name": "here"}
    pgpass = folder / "pgpass"
    escaped = PASSWORD.replace(":", "\\:")
    pgpass.write_text(f"127.0.0.1:{server.port}:*:loader:{escaped}\n")
    pgpass.chmod(0o600)
    services = folder / "services.conf"
    services.write_text(
        f"[shop]\nhost=nowhere.invalid\n[warehouse]\nhost=127.0.0.1\nport={server.port}\ndbname=warehouse\nuser=loader\n"
        f"password={PASSWORD}\nsslmode=verify-full\nsslrootcert={trusted}\napplication_name=here\n"
    )
    secret = quote(PASSWORD, safe="")
    several = f"postgresql://loader:{secret}@127.0.0.1:1,127.0.0.1:{server.port}/warehouse"
    full = {"sslmode": "verify-full", "sslrootcert": trusted}
    return {
        "verify-full in the URL": (server.url(**full, **here), {}, seen),
        "verify-full in the environment": (
            server.url(**here),
            {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": trusted},
            seen,
        ),
        "a client's certificate": (
            server.url("by_certificate", "", **full, **here, sslcert=str(certificate), sslkey=str(key)),
            {},
            seen.replace("loader", "by_certificate"),
        ),
        "PGPASSWORD": (server.url(password="", **here), {"PGPASSWORD": PASSWORD}, seen),
        "a password file": (server.url(password="", **here), {"PGPASSFILE": str(pgpass)}, seen),
        "a service in the URL": ("postgresql://?service=warehouse", {"PGSERVICEFILE": str(services)}, seen),
        "a service in the environment": (
            "postgresql://",
            {"PGSERVICEFILE": str(services), "PGSERVICE": "warehouse"},
            seen,
        ),
        "several hosts": (f"{several}?application_name=here&target_session_attrs=read-write", {}, seen),
        "options and in clear": (
            server.url(sslmode="disable", options="-c statement_timeout=7s", client_encoding="LATIN1", **here),
            {},
            "seen loader warehouse 7s here UTF8",
        ),
        "everything from the environment": (
            "postgresql://",
            {
                "PGHOST": "127.0.0.1",
                "PGPORT": str(server.port),
                "PGUSER": "loader",
                "PGPASSWORD": PASSWORD,
                "PGDATABASE": "warehouse",
                "PGAPPNAME": "here",
            },
            seen,
        ),
    }


WAYS = [
    *("verify-full in the URL", "verify-full in the environment", "a client's certificate", "PGPASSWORD"),
    *("a password file", "a service in the URL", "a service in the environment", "several hosts"),
    *("options and in clear", "everything from the environment"),
]


@pytest.mark.parametrize("way", WAYS)
def test_loader_and_dbt_connect_alike(
    server: Server, by_loader: Callable[..., str], by_dbt: Callable[..., str], way: str
) -> None:
    url, variables, expected = _ways(server)[way]
    server.present(server.authority.issue("localhost"), client_must_too=way == "a client's certificate")
    server.connections.clear()
    assert by_loader(url, **variables) == expected
    assert by_dbt() == expected
    # dbt has several connections.
    assert len(server.connections) >= 2
    assert set(server.connections) == {way != "options and in clear"}


REFUSED = {
    "another authority": "certificate verify failed",
    "an expired certificate": "certificate verify failed",
    "another name": "does not match host name",
    "no channel binding": "channel binding",
    "a wrong password": "authentication failed",
    "not a replica": "not in hot standby",
}


@pytest.mark.parametrize("reason", REFUSED)
def test_loader_and_dbt_are_refused_alike(
    server: Server, by_loader: Callable[..., str], by_dbt: Callable[..., str], reason: str
) -> None:
    full = {"sslmode": "verify-full", "sslrootcert": str(server.authority.certificate)}
    url, variables = server.url(**full), {}
    if reason == "another authority":
        url, variables = server.url(), {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(server.other.certificate)}
    elif reason == "no channel binding":
        url = server.url(channel_binding="require", **full)
    elif reason == "a wrong password":
        url = server.url("loader", "wr0ng", **full)
    elif reason == "not a replica":
        url = server.url(target_session_attrs="standby", **full)
    shown = {"an expired certificate": ("localhost", -1), "another name": ("elsewhere", 365)}.get(reason)
    if shown:
        server.present(server.authority.issue(*shown))
    try:
        for said in (by_loader(url, **variables), by_dbt()):
            assert REFUSED[reason] in said
            assert said.startswith("DatabaseUnavailableError" if reason == "not a replica" else "DatabaseError"), said
            assert PASSWORD not in said
            assert "wr0ng" not in said
    finally:
        server.present(server.authority.issue("localhost"))


def test_role_whose_connections_are_taken_is_tried_again(
    server: Server, by_loader: Callable[..., str], by_dbt: Callable[..., str]
) -> None:
    with dbapi.connect(server.url("alone")):
        for said in (by_loader(server.url("alone")), by_dbt()):
            assert said.startswith("DatabaseUnavailableError"), said
            assert "too many connections for role" in said
    assert by_loader(server.url("alone")).startswith("seen alone")


def _in_the_last_slot(server: Server) -> dbapi.Connection:
    """A connection to a server that has room for one: whoever asked whether it runs leaves first."""
    until = time.monotonic() + 10
    while True:
        try:
            return dbapi.connect(server.url())
        except dbapi.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def test_server_that_is_full_is_tried_again(
    server: Server, by_loader: Callable[..., str], by_dbt: Callable[..., str]
) -> None:
    server.restart("-c", "max_connections=4", "-c", "superuser_reserved_connections=3")
    try:
        with _in_the_last_slot(server):
            for said in (by_loader(server.url()), by_dbt()):
                assert said.startswith("DatabaseUnavailableError"), said
                assert "remaining connection slots are reserved" in said
    finally:
        server.restart()


@pytest.mark.parametrize("text", ["starting up", "shutting down", "in recovery mode"])
def test_server_that_starts_or_ends_is_tried_again(text: str) -> None:
    said = f'connection to server at "h", port 5432 failed: FATAL:  the database system is {text}'
    assert isinstance(error_from_output("warehouse", said), DatabaseUnavailableError)


def test_server_that_shuts_down_is_tried_again(
    server: Server, by_loader: Callable[..., str], by_dbt: Callable[..., str]
) -> None:
    """It waits for a session to end, and lets nobody else in."""
    with dbapi.connect(server.url()):
        server.shut_down()
        try:
            for said in (by_loader(server.url()), by_dbt()):
                assert said.startswith("DatabaseUnavailableError"), said
                assert "shutting down" in said
        finally:
            server.restart()


def test_statement_timeout_is_named_as_such(
    server: Server, by_loader: Callable[..., str], by_dbt: Callable[..., str]
) -> None:
    sql = "select pg_sleep(20)::text"
    for said in (by_loader(server.url("hurried"), sql), by_dbt(sql)):
        assert said.startswith("DatabaseError"), said
        assert "statement_timeout" in said
        assert "ALTER ROLE" in said
        assert "WAREHOUSE_DATABASE_URL" in said
        assert "trouble" not in said


def test_unreadable_url_is_refused_before_dbt_connects(by_loader: Callable[..., str]) -> None:
    assert by_loader("postgresql://loader:p@ss/w@h/d").startswith("DatabaseError: WAREHOUSE_DATABASE_URL is not a URL")
    with pytest.raises(DatabaseError, match="not a URL that Postgres understands"):
        warehouse_for_dbt()


# Each of them ends a connection to the embedded server that takes it.
HOSTILE = {
    "PGPORT": "6000",
    "PGHOSTADDR": "192.0.2.1",
    "PGSERVICE": "nowhere",
    "PGSSLMODE": "verify-full",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGREQUIREPEER": "nobody",
    "PGCHANNELBINDING": "require",
    "PGGSSENCMODE": "require",
    "PGSSLNEGOTIATION": "direct",
    "PGTARGETSESSIONATTRS": "standby",
    "PGOPTIONS": "-c no_such_setting=1",
    "PGDATABASE": "nowhere",
    "PGUSER": "nobody",
    "PGHOST": "nowhere.invalid",
}


def test_libpq_environment_does_not_reach_the_embedded_server(
    monkeypatch: pytest.MonkeyPatch, by_dbt: Callable[..., str], by_loader: Callable[..., str]
) -> None:
    """It starts, is connected to by loader and dbt, and stops."""
    with tempfile.TemporaryDirectory(prefix="lakehouse-own-") as home:
        monkeypatch.setenv("LAKEHOUSE_HOME", home)
        try:
            assert by_loader("", **HOSTILE) == "seen postgres warehouse 0  UTF8"
            assert by_dbt() == "seen postgres warehouse 0 dbt UTF8"
            assert Path(embedded_server(Path(home)), ".s.PGSQL.5432").exists()
        finally:
            assert stop_embedded_server(Path(home))
