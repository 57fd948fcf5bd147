"""Lakehouses, warehouses and the command, for tests on real Postgres and Delta."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from orders_lakehouse.cli import main as cli
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.settings import settings
from tests.support.copies import Warehouse
from tests.support.lakehouse import SHOP_SCHEMA, Lakehouse, changed, lakehouse_like, lakehouse_on, ran
from tests.support.late_changes import FIRST, IN_THE_LAKE, LAST, MARTS, SHOP
from tests.support.standing import standing
from tests.support.terminal import Command, Terminal


@pytest.fixture
def lakehouse(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_url_factory: Callable[[str], str]
) -> Iterator[Lakehouse]:
    """Provide an empty lakehouse on an empty shop; partitions start on 2017-01-01, dates are in UTC.

    On disk, or where a test's parameter says: disk or s3.
    """
    endpoint = request.getfixturevalue("s3_endpoint") if getattr(request, "param", "disk") == "s3" else None
    with lakehouse_on(endpoint, tmp_path, postgres_url_factory) as made:
        yield made


@pytest.fixture(scope="module")
def shared_lakehouse(
    tmp_path_factory: pytest.TempPathFactory, postgres_url_factory: Callable[[str], str]
) -> Iterator[Lakehouse]:
    """Provide a lakehouse that the tests of a module share; they need one xdist_group."""
    with lakehouse_on(None, tmp_path_factory.mktemp("lakehouse"), postgres_url_factory) as made:
        yield made


@pytest.fixture(scope="session")
def late_shop(postgres_url_factory: Callable[[str], str]) -> Lakehouse:
    """Return the shop of late changes before them, with ten captured and curated dates. It must not be changed."""

    def make(home: Path) -> Lakehouse:
        deleted = "('left behind', 1, 'px', 1, 3, 0, '2017-01-04', '2017-01-04')"
        with lakehouse_on(None, home, postgres_url_factory) as made:
            changed(made, f"{SHOP}; INSERT INTO shop.order_items VALUES {deleted}")
            ran(made, FIRST, LAST, select=IN_THE_LAKE)
            assert made.wrong_curated() == {}
            return made

    return standing("late_shop", make)


@pytest.fixture(scope="session")
def late_marts(late_shop: Lakehouse, postgres_url_factory: Callable[..., str]) -> Lakehouse:
    """Return a lakehouse like `late_shop` with its marts. It must not be changed."""

    def make(home: Path) -> Lakehouse:
        with lakehouse_like(late_shop, home, postgres_url_factory) as made:
            ran(made, FIRST, LAST, select=MARTS)
            return made

    return standing("late_marts", make)


@pytest.fixture
def built(late_shop: Lakehouse, tmp_path: Path, postgres_url_factory: Callable[..., str]) -> Iterator[Lakehouse]:
    """Provide a copy of `late_shop`."""
    with lakehouse_like(late_shop, tmp_path, postgres_url_factory) as made:
        yield made


@pytest.fixture(scope="module")
def copies_url(postgres_url_factory: Callable[[str], str]) -> str:
    """Return a database for `warehouse` that the tests of a module share."""
    return postgres_url_factory("copies")


@pytest.fixture
def warehouse(copies_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """Return a warehouse without copies, and an empty lake."""
    monkeypatch.setenv("WAREHOUSE_DATABASE_URL", copies_url)
    made = Warehouse(copies_url, Lake(str(tmp_path / "lake"), "UTC"))
    made.run("DROP SCHEMA IF EXISTS lake CASCADE")
    return made


@pytest.fixture
def terminal(tmp_path: Path, postgres_url_factory: Callable[[str], str]) -> Iterator[Terminal]:
    """Provide a lakehouse on an empty shop for its command; its processes end with the test."""
    made = Terminal(tmp_path / "home", postgres_url_factory("shop"), postgres_url_factory("warehouse"))
    inspected = made.inspect()
    inspected.shop(SHOP_SCHEMA)
    inspected.oracle.install()
    yield made
    for process in made.started:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    clean_settings: None,  # noqa: ARG001 (restores the settings afterwards)
) -> Command:
    """Return a function that runs the command in this process, in its own home and 80 columns."""
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()
        monkeypatch.setattr(sys, "argv", ["lakehouse", *arguments])
        capsys.readouterr()
        umask = os.umask(0o022)
        try:
            with pytest.raises(SystemExit) as exit_:
                cli.main()
        finally:
            os.umask(umask)
        captured = capsys.readouterr()
        return int(exit_.value.code or 0), captured.out, captured.err

    return run
