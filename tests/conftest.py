"""Fixtures of all tests. The session has one embedded Postgres, which the first worker starts."""

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

# The time of an example depends on the machine, so there is no deadline.
hypothesis.settings.register_profile("lakehouse", deadline=None)
hypothesis.settings.load_profile("lakehouse")


def pytest_configure(config: pytest.Config) -> None:
    # The user's own configuration must not reach a test. Workers inherit the environment of the controller.
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
        # AWS profiles of the user and roles of the machine are not used.
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
    """Return the directory of the socket of the session's server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from orders_lakehouse.postgres.embedded import embedded_server

        home = Path(os.environ[SESSION])
        started = home / "socket_directory"
        with (home / "roles.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Only the first worker starts the server: a second start would shut out the roles that others use.
            if not started.exists():
                directory = embedded_server(home)
                let_every_role_in(home, directory)
                started.write_text(directory)
        return started.read_text()


@pytest.fixture(scope="session")
def postgres_url_factory(postgres_server: str) -> Callable[..., str]:
    """Return a function that creates a database with a unique name, empty, copied, or in another encoding."""
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
    """Provide the URL of a Spark Connect server that knows the S3 server."""
    from orders_lakehouse.delta.engines import spark_session
    from tests.support.s3 import environment
    from tests.support.spark import spark_server

    with spark_server({**environment(s3_endpoint), "AWS_ALLOW_HTTP": "true"}) as url:
        yield url
        spark_session.forget()


@pytest.fixture(scope="session", autouse=True)
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """Provide the engine that derives: Polars, or the one in the variable ENGINE."""
    named = os.environ.get("ENGINE", "polars")
    with pytest.MonkeyPatch.context() as monkeypatch:
        if named != "polars":
            monkeypatch.setenv("LAKEHOUSE_ENGINE", named)
            monkeypatch.setenv("SPARK_REMOTE", request.getfixturevalue("spark_endpoint"))
        yield named


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Provide the URL of an S3 server."""
    from tests.support.s3 import s3_server

    with s3_server() as url:
        yield url


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the s3:// URL of an empty bucket, and set the environment to reach it."""
    from tests.support.s3 import environment, new_bucket

    for name, value in environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    return new_bucket(s3_endpoint)


@pytest.fixture
def clean_settings() -> Iterator[None]:
    """Read the settings again in the test and after it."""
    from orders_lakehouse.settings import settings

    settings.cache_clear()
    yield
    settings.cache_clear()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the number of random examples, and the seed that repeats them."""
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
