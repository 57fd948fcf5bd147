"""Which dates the demo builds: those of the shop that it finds."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import psycopg2
import pytest

from orders_lakehouse.cli.demo import last_change
from orders_lakehouse.cli.shop import ShopError
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
