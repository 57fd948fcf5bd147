"""Losses over a table: a shop of a few orders a day whose words are others than the contract's."""

from collections.abc import Callable, Iterator
from pathlib import Path

import narwhals as nw
import polars as pl
import pytest

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.checks import LOSSES_ARE_FEW
from orders_lakehouse.entities.order_items import ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS
from orders_lakehouse.entities.payments import PAYMENTS
from orders_lakehouse.pipeline.check_results import latest
from orders_lakehouse.pipeline.losses import Loss, losses
from orders_lakehouse.pipeline.source_lag import ChangedLater, changed_later
from orders_lakehouse.tables import QUARANTINE_OF
from tests.support.lakehouse import Lakehouse, failures, lakehouse_like, lakehouse_on
from tests.support.rows import on
from tests.support.standing import standing

pytestmark = pytest.mark.slow

IN_THE_LAKE = "group:raw or group:cleansed"
# Two orders a day with a line and a payment each; of ten orders, seven say that they are Complete or Pending.
SHOP = """
INSERT INTO shop.products VALUES ('p', 'Tea', 'Food', 'Maker', 3, 'EUR', '2016-12-15', null);
INSERT INTO shop.orders (order_id, ordered_at, status, currency, updated_at)
  SELECT 'o' || n, t, CASE WHEN n % 10 < 3 THEN 'paid' WHEN n % 10 < 8 THEN 'Complete' ELSE 'Pending' END, 'EUR', t
  FROM generate_series(0, 19) AS n, LATERAL (SELECT timestamptz '2017-01-01 10:00+00' + n / 2 * interval '1 day' AS t);
INSERT INTO shop.order_items (order_id, line_number, product_id, quantity, unit_price, discount, updated_at)
  SELECT order_id, 1, 'p', 1, 3, 0, updated_at FROM shop.orders;
INSERT INTO shop.payments (payment_id, order_id, method, amount, currency, status, updated_at)
  SELECT 'y' || order_id, order_id, 'card', 3, 'EUR', 'settled', updated_at FROM shop.orders;
"""
FIRST, LAST = "2017-01-01", "2017-01-10"


@pytest.fixture
def losing(tmp_path: Path, postgres_url_factory: Callable[..., str]) -> Iterator[Lakehouse]:
    """Provide a lakehouse that has rejected most of its rows."""

    def make(home: Path) -> Lakehouse:
        with lakehouse_on(None, home, postgres_url_factory) as made:
            made.shop(SHOP)
            assert made.run(FIRST, LAST, select=IN_THE_LAKE).success, "losses stop no run"
            return made

    with lakehouse_like(standing("losing", make), tmp_path, postgres_url_factory) as copy:
        yield copy


def test_shop_with_unknown_status_words_is_told_which(losing: Lakehouse) -> None:
    found = latest(losing.lake, check_name=LOSSES_ARE_FEW).filter(~pl.col("passed"))
    said = {row["asset"]: (row["found"], row["detail"]) for row in found.iter_rows(named=True)}
    assert said == {
        "cleansed/order_items": ("order_quarantined rejects 14 of 20 rows of the whole table", None),
        "cleansed/orders": (
            "status_not_in_list rejects 14 of 20 rows of the whole table",
            "status_not_in_list: status: 'Complete' (10), 'Pending' (4)",
        ),
        "cleansed/payments": (
            "status_not_in_list rejects 20 of 20 rows of the whole table; "
            "order_quarantined rejects 14 of 20 rows of the whole table",
            "status_not_in_list: status: 'settled' (20)",
        ),
    }
    assert found["severity"].unique().to_list() == ["ERROR"]


def test_corrected_rows_are_no_losses(losing: Lakehouse) -> None:
    losing.shop("""
UPDATE shop.orders SET status = 'paid', updated_at = '2017-01-11' WHERE status <> 'paid';
UPDATE shop.payments SET status = 'captured', updated_at = '2017-01-11';
""")
    assert failures(losing.run(FIRST, "2017-01-11", select=IN_THE_LAKE)) == []


def test_line_that_waits_for_longer_than_a_day_is_lost(lakehouse: Lakehouse) -> None:
    lakehouse.shop(f"{SHOP}; UPDATE shop.orders SET status = 'paid', updated_at = '2017-02-01' WHERE order_id <> 'o19'")
    lakehouse.run(FIRST, LAST, select=IN_THE_LAKE)
    # The line of o18 came on the same day as the last order that was captured; those of two days before have waited.
    whole = "the whole table"
    assert losses(lakehouse.lake.snapshot(), ORDER_ITEMS, 0.5) == [Loss("order_unknown", whole, 16, 20, "")]
    assert losses(lakehouse.lake.snapshot(), ORDER_ITEMS, 0.9) == []


def test_few_rows_are_not_judged(lakehouse: Lakehouse) -> None:
    lakehouse.shop(f"{SHOP}; DELETE FROM shop.orders WHERE order_id NOT IN ('o3', 'o4')")
    lakehouse.run(FIRST, LAST, select=IN_THE_LAKE)
    assert lakehouse.lake_rows(ORDERS).is_empty()
    assert losses(lakehouse.lake.snapshot(), ORDERS, 0.5) == []
    assert losses(lakehouse.lake.snapshot(), PAYMENTS, 0.5) != []


def test_orders_changed_after_the_dates_are_reported_early(lakehouse: Lakehouse) -> None:
    lakehouse.shop(f"{SHOP}; UPDATE shop.orders SET updated_at = '2017-02-01' WHERE order_id IN ('o0', 'o7')")
    lake, calendar = lakehouse.lake, Calendar(on(FIRST), "UTC")
    assert changed_later(lake, calendar, on(FIRST), on("2017-01-02")) == ChangedLater(1, on("2017-02-01"))
    assert changed_later(lake, calendar, on(FIRST), on(LAST)) == ChangedLater(2, on("2017-02-01"))
    assert changed_later(lake, calendar, on("2017-01-05"), on(LAST)) is None
    assert changed_later(lake, calendar, on(FIRST), on("2017-02-01")) is None
    lakehouse.run("2017-02-01", select="group:raw")
    assert changed_later(lake, calendar, on(FIRST), on(LAST)) is None, "they have been captured"


def test_rule_removed_from_the_contract_is_reported(losing: Lakehouse) -> None:
    table = QUARANTINE_OF[ORDERS.name]
    of_before = losing.lake_rows(table).with_columns(reasons=pl.lit("a_rule_of_before"))
    losing.lake.replace_dates([table], on(FIRST), on(LAST), lambda _: [nw.from_native(of_before.lazy())])
    assert losses(losing.lake.snapshot(), ORDERS, 0.5) == [Loss("a_rule_of_before", "the whole table", 14, 20, "")]
