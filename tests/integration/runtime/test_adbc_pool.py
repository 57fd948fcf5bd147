"""Connections: what ADBC learns of a database is asked for once, and again when there is a new type."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import adbc_driver_postgresql
import polars as pl
import pytest
from adbc_driver_manager import AdbcDatabase, OperationalError
from adbc_driver_postgresql import dbapi

from orders_lakehouse.postgres.connections import parse_url
from orders_lakehouse.runtime import adbc_pool

MOOD = "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE TABLE moods AS SELECT 'glad'::mood AS mood;"


@pytest.fixture
def url(postgres_url_factory: Callable[[str], str]) -> str:
    return postgres_url_factory("adbc")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """URLs of databases that were asked for all their types."""
    urls: list[str] = []
    learn = adbc_driver_postgresql.connect

    def noted(url: str) -> AdbcDatabase:
        urls.append(url)
        return learn(url)

    monkeypatch.setattr(adbc_driver_postgresql, "connect", noted)
    return urls


def run(url: str, script: str) -> None:
    with adbc_pool.connect(url) as connection, connection.cursor() as cursor:
        cursor.executescript(script)
        connection.commit()


def test_type_data_serves_later_connections(url: str, asked: list[str]) -> None:
    run(url, "CREATE TABLE t AS SELECT 1 AS a")
    # Of two that are open at once, each learns for itself.
    first, second = adbc_pool.connect(url), adbc_pool.connect(url)
    for connection in (first, second):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT a FROM t")
            assert cursor.fetchall() == [(1,)]
        connection.close()
    run(url, "CREATE TABLE another AS SELECT * FROM t")
    assert asked == [url, url]


def test_new_type_is_known(url: str, asked: list[str]) -> None:
    open_before = adbc_pool.connect(url)
    run(url, MOOD)
    with adbc_pool.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT mood FROM moods")
        assert pl.DataFrame(cursor.fetch_arrow_table()).rows() == [("glad",)]
    assert asked == [url] * 3
    # Who was there first goes on.
    with open_before as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == [(1,)]


def test_connections_of_many_threads_know_new_types(url: str) -> None:
    def work(number: int) -> None:
        for turn in range(5):
            run(url, f"CREATE TYPE mood_{number}_{turn} AS ENUM ('sad')")

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(work, range(6)))
    with adbc_pool.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 'sad'::mood_5_4")
        assert pl.DataFrame(cursor.fetch_arrow_table()).rows() == [("sad",)]


def test_dropped_database_is_an_error_as_before(url: str, postgres_url_factory: Callable[[str], str]) -> None:
    adbc_pool.connect(url).close()
    name = (parse_url(url) or {})["dbname"]
    with dbapi.connect(postgres_url_factory("admin"), autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")
    with pytest.raises(OperationalError, match="does not exist"):
        adbc_pool.connect(url)
