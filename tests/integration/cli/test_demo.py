"""Which dates the demo builds: those of the shop that it finds."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

import polars as pl
import psycopg2
import pytest

from orders_lakehouse.cli.demo import last_change
from orders_lakehouse.cli.parameters import today
from orders_lakehouse.cli.shop import ShopError, load_shop_if_embedded
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.postgres import connections
from orders_lakehouse.sample_shop import sample
from orders_lakehouse.sample_shop.complete_journey import CompleteJourney, read_complete_journey
from orders_lakehouse.settings import settings
from tests.support.lakehouse import SHOP_SCHEMA, rows_of

SHOP = """
INSERT INTO shop.orders (order_id, updated_at) VALUES ('o1', '2017-03-01 23:30+00');
INSERT INTO shop.payments (payment_id, updated_at) VALUES ('p1', '2017-03-04 23:30+00');
"""


def run_script(url: str, script: str) -> None:
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(script)


def test_demo_ends_with_latest_change_and_refuses_an_empty_shop(
    postgres_url_factory: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    clean_settings: None,  # noqa: ARG001 (restores the settings afterwards)
) -> None:
    url = postgres_url_factory("shop")
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("SHOP_DATABASE_URL", url)
    run_script(url, SHOP_SCHEMA)
    with pytest.raises(ShopError, match="the shop has no orders"):
        last_change()
    run_script(url, SHOP)
    assert last_change() == date(2017, 3, 4)
    monkeypatch.setenv("LAKEHOUSE_TIMEZONE", "Europe/Berlin")
    settings.cache_clear()
    assert last_change() == date(2017, 3, 5)
    monkeypatch.setenv("LAKEHOUSE_TIMEZONE", "UTC")
    settings.cache_clear()
    run_script(url, "UPDATE shop.orders SET updated_at = now() + interval '9 days'")
    assert last_change() == rows_of(url, "SELECT now()::date")[0][0]


@pytest.fixture
def few_households(
    postgres_url_factory: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    clean_settings: None,  # noqa: ARG001 (restores the settings afterwards)
) -> None:
    """Make an empty database the embedded shop, and the sample a small one."""
    url = postgres_url_factory("shop")
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setattr(connections, "embedded_server", lambda _: "")
    monkeypatch.setattr(connections, "embedded_url", lambda *_: url)
    journey = read_complete_journey()
    few = CompleteJourney(
        journey.transactions.filter(pl.col("household_id") <= 200), journey.products.head(100), journey.demographics
    )
    monkeypatch.setattr(sample, "build_shop", partial(sample.build_shop, few))


@pytest.mark.usefixtures("few_households")
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/New_York"])
def test_lake_begins_with_the_sample_which_ends_yesterday(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_TIMEZONE", zone)
    settings.cache_clear()
    load_shop_if_embedded()
    yesterday = (today() - timedelta(days=1)).date()
    assert last_change() == yesterday
    # The sample has a year, less up to two weeks.
    begin = settings().start_date
    assert timedelta(days=350) < yesterday - begin <= timedelta(days=364)
    assert configured_lake().start == begin
    # A shop that has orders stays, whatever the date.
    load_shop_if_embedded(as_of=datetime(2018, 1, 1))  # noqa: DTZ001 (as click reads dates)
    assert (settings().start_date, last_change()) == (begin, yesterday)


@pytest.mark.usefixtures("few_households")
def test_sample_as_of_a_date_is_fixed_and_not_of_the_future() -> None:
    with pytest.raises(ShopError, match="expected today or an earlier date"):
        load_shop_if_embedded(as_of=today() + timedelta(days=1))
    load_shop_if_embedded(as_of=datetime(2018, 1, 1))  # noqa: DTZ001 (as click reads dates)
    assert (settings().start_date, last_change()) == (date(2017, 1, 1), date(2018, 1, 1))
