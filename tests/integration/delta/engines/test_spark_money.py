"""Numbers and totals come out on the cluster as they do in this process, to the digit, whatever their types there."""

import random
from decimal import Decimal

import narwhals as nw
import polars as pl
import pytest

from orders_lakehouse.contracts.types import MONEY, PRICE, QUANTITY, Frame
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.entities.order_items import ORDER_ITEMS, RAW_ORDER_ITEMS
from orders_lakehouse.settings import settings
from orders_lakehouse.transforms import columns as c
from orders_lakehouse.transforms.money import with_total_price
from tests.support.judging import cleanse_order_items
from tests.support.rows import on, rows

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("spark")]

DAY = on("2020-03-02")
CURRENCIES = ("EUR", "JPY", "KWD", "CLF", None)
# Whatever a numeric of a shop prints.
ODD = ("NaN", "Infinity", "-Infinity", "0.0000001", "1.005", "-0.5", "99999999999999.99999", "1" * 30, "0", "7", None)


@pytest.fixture(autouse=True)
def on_spark(spark_endpoint: str, monkeypatch: pytest.MonkeyPatch, clean_settings: None) -> None:  # noqa: ARG001
    monkeypatch.setenv("LAKEHOUSE_ENGINE", "spark")
    monkeypatch.setenv("SPARK_REMOTE", spark_endpoint)
    settings.cache_clear()


def both(frame: pl.DataFrame) -> list[Frame]:
    """The same rows here and there."""
    from orders_lakehouse.delta.engines.spark_session import session

    return [nw.from_native(frame.lazy()), nw.from_native(session().createDataFrame(frame.to_arrow()))]


def _lines(count: int) -> pl.DataFrame:
    dice = random.Random(7021994)  # noqa: S311 (a sample, not a secret)

    def number(largest: int, decimals: int) -> str:
        if dice.random() < 0.1:
            return dice.choice(ODD[:-1])  # type: ignore[return-value]
        return str(Decimal(dice.randint(0, largest * 10**decimals)).scaleb(-dice.choice((0, decimals))))

    return pl.DataFrame(
        {
            "n": range(count),
            "quantity": [number(dice.choice((9, 10**6)), 6) for _ in range(count)],
            "unit_price": [number(dice.choice((9, 10**7)), 8) for _ in range(count)],
            "discount": [number(9, 4) for _ in range(count)],
            "order_currency": [dice.choice(CURRENCIES) for _ in range(count)],
        },
        schema_overrides={"order_currency": pl.String},
    )


def test_numbers_and_totals_are_the_same_on_both_engines() -> None:
    found = [
        rows_of(
            with_total_price(
                frame.with_columns(
                    c.number("quantity", QUANTITY), c.number("unit_price", PRICE), c.number("discount", MONEY)
                )
            )
        ).sort("n")
        for frame in both(_lines(3000))
    ]
    here, there = found
    assert here.equals(there.select(here.columns))
    assert here["total_price"].null_count() > 100
    assert here["total_price"].n_unique() > 1000


@pytest.mark.long
def test_lines_are_split_alike_on_both_engines() -> None:
    lines = _lines(500)
    versions = rows(
        RAW_ORDER_ITEMS,
        *(
            {
                "order_id": row["order_currency"] or "none",
                "line_number": row["n"],
                **{name: row[name] for name in ("quantity", "unit_price", "discount")},
            }
            for row in lines.iter_rows(named=True)
        ),
    )
    states = pl.DataFrame(
        [(currency or "none", DAY, "valid", currency) for currency in CURRENCIES],
        schema={"order_id": pl.String, "order_date": pl.Date, "order_state": pl.String, "order_currency": pl.String},
        orient="row",
    )
    splits = [
        cleanse_order_items(raw, of_orders, DAY, DAY)
        for raw, of_orders in zip(both(versions), both(states), strict=True)
    ]
    (good, bad), (good_there, bad_there) = [
        [rows_of(frame).sort(ORDER_ITEMS.key) for frame in split] for split in splits
    ]
    assert good.equals(good_there)
    assert bad.equals(bad_there)
    assert good.height > 100
    assert bad["reasons"].n_unique() > 8
