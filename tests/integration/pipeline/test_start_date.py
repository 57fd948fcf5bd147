"""The first partition: what was placed before it is told and blocks nothing, and it moves to an earlier date."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from orders_lakehouse.cli import migrate as command
from orders_lakehouse.cli.quarantine import show as quarantine
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.entities.order_items import ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.entities.payments import PAYMENTS
from orders_lakehouse.pipeline import start_date
from orders_lakehouse.pipeline.losses import losses, ordered_before_start
from orders_lakehouse.pipeline.start_date import Moved, move_start
from orders_lakehouse.tables import QUARANTINE_OF
from tests.support.lakehouse import Lakehouse, failures, lakehouse_like
from tests.support.rows import on

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("start_date")]

IN_THE_LAKE = "group:raw or group:cleansed or group:curated"
BEGIN, LATER, LAST = "2017-01-01", "2017-01-05", "2017-01-06"
# Sixty orders from the first to the third of January, one of which changed on the sixth, and two on the fifth.
SHOP = """
INSERT INTO shop.products VALUES ('p', 'Tea', 'Food', 'Maker', 3, 'EUR', '2016-12-15', null);
INSERT INTO shop.customers (customer_id, updated_at) VALUES ('c', '2017-01-03 09:00+00');
INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at)
  SELECT 'o' || n, 'c', t, 'paid', 'EUR', CASE n WHEN 7 THEN timestamptz '2017-01-06 08:00+00' ELSE t END
  FROM generate_series(0, 59) AS n, LATERAL (SELECT timestamptz '2017-01-01 10:00+00' + n % 3 * interval '1 day' AS t);
INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at)
  VALUES ('new1', 'c', '2017-01-05 10:00+00', 'paid', 'EUR', '2017-01-05 10:00+00'),
         ('new2', 'c', '2017-01-05 11:00+00', 'paid', 'EUR', '2017-01-05 11:00+00');
INSERT INTO shop.order_items (order_id, line_number, product_id, quantity, unit_price, discount, updated_at)
  SELECT order_id, 1, 'p', 1, 3, 0, ordered_at FROM shop.orders;
INSERT INTO shop.payments (payment_id, order_id, method, amount, currency, status, updated_at)
  SELECT 'y' || order_id, order_id, 'card', 3, 'EUR', 'captured', ordered_at FROM shop.orders;
"""


@pytest.fixture(scope="module")
def standing(shared_lakehouse: Lakehouse) -> Lakehouse:
    """A lake that begins on the fifth, when most orders had been placed; not to be changed."""
    shared_lakehouse.shop(SHOP)
    shared_lakehouse.oracle.look()
    later = replace(shared_lakehouse, lake=replace(shared_lakehouse.lake, start=on(LATER)))
    assert failures(later.run(LATER, LAST, select=IN_THE_LAKE)) == []
    return later


@pytest.fixture
def begun(standing: Lakehouse, tmp_path: Path, postgres_url_factory: Callable[..., str]) -> Iterator[Lakehouse]:
    """The same, of a test's own."""
    with lakehouse_like(standing, tmp_path, postgres_url_factory) as made:
        yield replace(made, lake=replace(made.lake, start=on(LATER)))


@pytest.fixture
def earlier(begun: Lakehouse) -> Lakehouse:
    """The same lake by settings that name the first."""
    return replace(begun, lake=replace(begun.lake, start=on(BEGIN)))


def test_orders_before_the_first_partition_are_kept_apart(begun: Lakehouse) -> None:
    assert begun.lake_rows(ORDERS)["order_id"].to_list() == ["new1", "new2"]
    assert ordered_before_start(begun.lake) == 60
    for table, reason in ((ORDERS, "ordered_before_start"), (ORDER_ITEMS, "order_before_start")):
        left_out = begun.lake_rows(QUARANTINE_OF[table.name])
        assert left_out["reasons"].unique().to_list() == [reason]
        assert left_out.height == 60
        assert losses(begun.lake.snapshot(), table, 0.0) == []


def test_loss_is_not_hidden_by_earlier_orders(begun: Lakehouse) -> None:
    begun.shop("UPDATE shop.payments SET status = 'settled', updated_at = '2017-01-06' WHERE order_id LIKE 'new%'")
    begun.shop("""
INSERT INTO shop.payments (payment_id, order_id, method, amount, currency, status, updated_at)
  VALUES ('y', 'new1', 'card', 3, 'EUR', 'settled', '2017-01-06')""")
    begun.run(LATER, LAST, select=IN_THE_LAKE)
    (loss,) = losses(begun.lake.snapshot(), PAYMENTS, 0.5)
    assert loss.in_words == "status_not_in_list rejects 3 of 3 rows of the whole table"


def test_another_first_partition_is_refused_by_name(earlier: Lakehouse) -> None:
    with pytest.raises(LakeError, match=r"raw/orders begins on 2017-01-05, and LAKEHOUSE_START_DATE is 2017-01-01.*"):
        earlier.lake_rows(RAW_ORDERS)


def test_later_first_partition_is_refused(begun: Lakehouse) -> None:
    with pytest.raises(LakeError, match="the lake begins on 2017-01-05, and LAKEHOUSE_START_DATE is 2017-01-06, which"):
        move_start(replace(begun.lake, start=on(LAST)))


@pytest.mark.long
def test_lake_begins_earlier_as_if_it_always_had(
    earlier: Lakehouse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = start_date.rebuild_key_dates
    monkeypatch.setattr(start_date, "rebuild_key_dates", lambda *_: 1 / 0)
    # Another date, when it is broken off.
    with pytest.raises(ZeroDivisionError):
        move_start(replace(earlier.lake, start=on("2017-01-02")))
    monkeypatch.setattr(start_date, "rebuild_key_dates", stopped)
    monkeypatch.setattr(command, "configured_lake", lambda: earlier.lake)
    command.migrate()
    said = capsys.readouterr().out
    assert "The lake begins on 2017-01-01; until now it was 2017-01-05." in said
    assert "backfill 2017-01-01 2017-01-06 --job refresh_cleansed_job" in said
    captured = earlier.lake_rows(RAW_ORDERS).group_by("captured_on").len().sort("captured_on").rows()
    assert captured == [
        (on("2017-01-01"), 20),
        (on("2017-01-02"), 19),
        (on("2017-01-03"), 20),
        (on(LATER), 2),
        (on(LAST), 1),
    ]
    assert failures(earlier.run(BEGIN, LAST, select="group:cleansed or group:curated")) == []
    assert earlier.wrong_curated() == {}
    assert ordered_before_start(earlier.lake) == 0
    # What stands in raw is not captured a second time.
    before = earlier.raw_tables()
    assert failures(earlier.run(BEGIN, LAST, select=IN_THE_LAKE)) == []
    assert all(rows.equals(before[path]) for path, rows in earlier.raw_tables().items())
    assert move_start(earlier.lake) is None


def test_rows_that_move_are_counted(earlier: Lakehouse) -> None:
    moved = {"raw/customers": 1, "raw/products": 1, "raw/orders": 59, "raw/order_items": 60, "raw/payments": 60}
    assert move_start(earlier.lake) == Moved(on(LATER), on(BEGIN), moved)


def test_line_without_order_is_told_where_the_order_is(
    lakehouse: Lakehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    lakehouse.shop(SHOP)
    lakehouse.run(BEGIN, "2017-01-03", select="group:raw or group:cleansed")
    quarantine.show("order_items", "o7 / 1")
    assert "The shop has the order o7, last changed on 2017-01-06, and raw does not. Capture it:" in (
        capsys.readouterr().out
    )
    lakehouse.shop("DELETE FROM shop.orders WHERE order_id = 'o7'")
    quarantine.show("order_items", "o7 / 1")
    assert "Neither the shop nor raw has the order o7." in capsys.readouterr().out


def test_older_lake_takes_the_first_partition_of_the_settings(begun: Lakehouse) -> None:
    of_before = begun.lake.find(ORDERS)
    of_before.alter.set_table_description("timezone=UTC contract=2")
    earlier = replace(begun.lake, start=on(BEGIN))
    assert pl.DataFrame(earlier.scan(ORDERS).to_native().collect()).height == 2
