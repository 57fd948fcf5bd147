"""What all tests share: one embedded Postgres for the whole session, whichever worker asks first."""

import fcntl
import os
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import hypothesis
import pytest

from tests.support.postgres_roles import let_every_role_in
from tests.support.session import SESSION

# How long an example takes says more of the machine than of what is tested.
hypothesis.settings.register_profile("lakehouse", deadline=None)
hypothesis.settings.load_profile("lakehouse")


def pytest_configure(config: pytest.Config) -> None:
    # Nothing of the person's own configuration may reach a test. Workers inherit the environment of the controller.
    if not hasattr(config, "workerinput"):
        for name in list(os.environ):
            if name.startswith(
                (
                    "LAKEHOUSE_",
                    "SHOP_DATABASE",
                    "WAREHOUSE_DATABASE",
                    "LAKE_URL",
                    "DAGSTER_HOME",
                    "DBT_",
                    "AWS_",
                    "SPARK_",
                    "PG",
                )
            ):
                del os.environ[name]
        home = tempfile.mkdtemp(prefix="lakehouse-tests-")
        os.environ[SESSION] = home
        os.environ["LAKEHOUSE_HOME"] = str(Path(home) / "nobody")
        (Path(home) / "waivers.toml").touch()
        os.environ["LAKEHOUSE_WAIVERS"] = str(Path(home) / "waivers.toml")
        # No profile of the person's own, and no role of a machine that the tests run on.
        os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(Path(home) / "nothing")
        os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    from orders_lakehouse.settings import Settings

    Settings.model_config["env_file"] = None


def pytest_unconfigure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return
    home = Path(os.environ[SESSION])
    if (home / "postgres.lock").exists():
        from orders_lakehouse.postgres.embedded import remove_embedded_server

        remove_embedded_server(home)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """Directory of the socket of the session's server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from orders_lakehouse.postgres.embedded import embedded_server

        home = Path(os.environ[SESSION])
        started = home / "socket_directory"
        with (home / "roles.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # The first worker alone: to start the server again would shut out the roles that others are using.
            if not started.exists():
                directory = embedded_server(home)
                let_every_role_in(home, directory)
                started.write_text(directory)
        return started.read_text()


@pytest.fixture(scope="session")
def postgres_url_factory(postgres_server: str) -> Callable[..., str]:
    """Makes a database of a name that nobody else has, and returns its URL: empty, a copy, or in another encoding."""
    from adbc_driver_postgresql import dbapi

    made: dict[str, int] = {}

    def url(name: str) -> str:
        return f"postgresql://postgres@/{name}?host={quote(postgres_server, safe='/')}"

    def make(name: str, copied: str = "", encoding: str = "") -> str:
        made[name] = made.get(name, 0) + 1
        unique = f"{name}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{made[name]}"
        with dbapi.connect(url("postgres"), autocommit=True) as connection, connection.cursor() as cursor:
            template = urlsplit(copied).path.strip("/") or "template1"
            options = f'TEMPLATE "{template}"'
            if encoding:
                options = f"ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
            cursor.execute(f'CREATE DATABASE "{unique}" {options}')
        return url(unique)

    return make


@pytest.fixture(scope="session")
def spark_endpoint(s3_endpoint: str) -> Iterator[str]:
    """URL of a Spark Connect server, which knows the S3 server."""
    from orders_lakehouse.delta.engines import spark_session
    from tests.support.s3 import environment
    from tests.support.spark import spark_server

    with spark_server({**environment(s3_endpoint), "AWS_ALLOW_HTTP": "true"}) as url:
        yield url
        spark_session.forget()


@pytest.fixture(scope="session", autouse=True)
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """The engine that derives: Polars, or the one that ENGINE names when the tests are called."""
    named = os.environ.get("ENGINE", "polars")
    with pytest.MonkeyPatch.context() as monkeypatch:
        if named != "polars":
            monkeypatch.setenv("LAKEHOUSE_ENGINE", named)
            monkeypatch.setenv("SPARK_REMOTE", request.getfixturevalue("spark_endpoint"))
        yield named


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """URL of an S3 server."""
    from tests.support.s3 import s3_server

    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The s3:// URL of an empty bucket; the environment says how to reach it."""
    from tests.support.s3 import environment, new_bucket

    for name, value in environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    return new_bucket(s3_endpoint)


@pytest.fixture
def clean_settings() -> Iterator[None]:
    """Settings are read anew in the test and after it."""
    from orders_lakehouse.settings import settings

    settings.cache_clear()
    yield
    settings.cache_clear()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What random tests have tried, and how to play it again."""
    tried: Counter[str] = Counter()
    seeds = []
    for reports in terminalreporter.stats.values():
        calls = [report for report in reports if getattr(report, "when", None) == "call"]
        for name, value in (found for report in calls for found in report.user_properties):
            if name == "tried":
                tried.update(value)
            elif name == "seed":
                seeds.append(value)
    if tried:
        terminalreporter.line("Tried: " + ", ".join(f"{count:,} {what}" for what, count in tried.items()))
    if seeds:
        terminalreporter.line(f"SEED={min(seeds)} plays the same again.")
