"""The oracle has to notice what the pipeline's own checks cannot: each sabotage here passes them all."""

from collections.abc import Callable
from typing import Any

import narwhals as nw
import pytest

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.curated import order_lines
from orders_lakehouse.entities import cleansing, order_items
from orders_lakehouse.entities.order_items import ORDER_ITEMS
from tests.support.lakehouse import Lakehouse, failures
from tests.support.oracle import Differences, compare

LAKE = "group:raw or group:cleansed or group:curated"
SHOP = """
INSERT INTO shop.products VALUES
  ('tea', 'Tea', 'Food', 'Maker', 3.00, 'EUR', '2017-01-01 08:00+00', null);
INSERT INTO shop.orders (order_id, ordered_at, status, currency, updated_at) VALUES
  ('first', '2017-01-01 10:00+00', 'paid', 'EUR', '2017-01-01 10:00+00'),
  ('second', '2017-01-02 10:00+00', 'paid', 'EUR', '2017-01-02 10:00+00');
INSERT INTO shop.order_items VALUES
  ('first', 1, 'tea', 1, 1.0050, 0, '2017-01-01 10:00+00', null),
  ('first', 2, 'tea', 1, 2.0000, 0, '2017-01-01 10:00+00', '2017-01-01 11:00+00'),
  ('second', 1, 'tea', 1, 4.0000, 0, '2017-01-02 10:00+00', null);
"""
RENAMED = "UPDATE shop.products SET product_name = 'Green tea', updated_at = '2017-01-02 08:00+00'"

Sabotage = Callable[[pytest.MonkeyPatch], None]


def nothing(_: pytest.MonkeyPatch) -> None:
    """The pipeline as it is."""


def rounds_half_to_even(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_total_price(rows: Frame) -> Frame:
        exact = nw.col("quantity") * nw.col("unit_price") - nw.col("discount")
        return rows.with_columns(total_price=exact.cast(nw.Decimal(18, 4)).round(2).cast(nw.Decimal(18, 4)))

    monkeypatch.setattr(order_items, "with_total_price", with_total_price)


def forgets_that_a_line_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    split = cleansing.split

    def alive(judged: Frame, table: Table, *others: Any) -> tuple[Frame, Frame]:
        return split(judged.with_columns(is_deleted=nw.lit(False)) if table is ORDER_ITEMS else judged, table, *others)

    monkeypatch.setattr(cleansing, "split", alive)


def joins_the_last_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_it_is_now(facts: nw.LazyFrame, versions: nw.LazyFrame, key: str) -> nw.LazyFrame:
        current = versions.filter(nw.col("valid_to").is_null()).drop("valid_from", "valid_to")
        return facts.join(current, on=key, how="left")

    monkeypatch.setattr(order_lines, "_as_of", as_it_is_now)


@pytest.mark.parametrize(
    ("sabotage", "noticed_in"),
    [
        (nothing, set()),
        pytest.param(rounds_half_to_even, {"order_lines", "daily_sales"}, marks=pytest.mark.long),
        pytest.param(forgets_that_a_line_is_deleted, {"order_lines", "daily_sales"}, marks=pytest.mark.thorough),
        pytest.param(joins_the_last_version, {"order_lines"}, marks=pytest.mark.thorough),
    ],
)
def test_oracle_notices_a_wrong_transformation(
    lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, sabotage: Sabotage, noticed_in: set[str]
) -> None:
    lakehouse.shop(SHOP)
    lakehouse.oracle.look()
    assert lakehouse.run("2017-01-01", "2017-01-02", select="group:raw").success
    lakehouse.shop(RENAMED)
    lakehouse.oracle.look()
    sabotage(monkeypatch)

    result = lakehouse.run("2017-01-01", "2017-01-02", select=LAKE)

    assert result.success, failures(result)
    assert set(lakehouse.wrong_curated()) == noticed_in


def test_oracle_notices_a_date_that_was_not_run(lakehouse: Lakehouse) -> None:
    lakehouse.shop(SHOP)
    lakehouse.oracle.look()
    assert lakehouse.run("2017-01-01", select=LAKE).success
    (missing,) = lakehouse.wrong_curated()["daily_sales"].missing
    assert missing[0] == "2017-01-02"


def test_row_that_stands_twice_is_a_difference() -> None:
    assert compare([(1,), (2,)], [(2,), (1,)]) is None
    assert compare([(1,)], [(1,), (1,)]) == Differences(missing=[], unexpected=[(1,)])
    assert compare([(1,), (None,)], [(1,)]) == Differences(missing=[(None,)], unexpected=[])
