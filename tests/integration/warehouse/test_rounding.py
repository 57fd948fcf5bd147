"""The one rounding, against Postgres' own."""

import random
from collections.abc import Callable
from decimal import Decimal

import narwhals as nw
import polars as pl
from adbc_driver_postgresql import dbapi

from orders_lakehouse.contracts.codes import CURRENCIES
from orders_lakehouse.transforms.money import with_total_price

ROWS = 20_000
# Quantities and prices from the everyday to the edge of what is counted; the halves that decide are frequent in all.
_LARGEST_QUANTITIES = (3, 1000, 2**31 - 1, 999_999_999_999)
_CURRENCIES = ("EUR", "JPY", "KWD", "CLF")


def _line(dice: random.Random) -> tuple[Decimal, Decimal, Decimal, str]:
    quantity = Decimal(dice.randint(-2, dice.choice(_LARGEST_QUANTITIES)))
    if dice.random() < 0.3:
        quantity = min(quantity, Decimal(10**6)) + Decimal(dice.randint(0, 999_999)).scaleb(-6)
    most = min(10**15 - 1, int(9 * 10**13 / max(1, abs(quantity))))
    price = Decimal(dice.randint(0, dice.choice((10, 10_000, most)) * 10**8)).scaleb(-8)
    if dice.random() < 0.5:
        price = price.quantize(Decimal("0.01")) + Decimal("0.005")
    discount = Decimal(dice.randint(-100, dice.choice((1, 10_000, 10**13)))).scaleb(-dice.choice((0, 2, 3, 4)))
    return quantity, price, discount, dice.choice(_CURRENCIES)


def test_totals_equal_those_of_postgres(postgres_url_factory: Callable[[str], str]) -> None:
    dice = random.Random(20_170_101)  # noqa: S311 (a sample, not a secret)
    lines = pl.DataFrame(
        [_line(dice) for _ in range(ROWS)],
        schema={
            "quantity": pl.Decimal(20, 7),
            "unit_price": pl.Decimal(26, 9),
            "discount": pl.Decimal(20, 5),
            "order_currency": pl.String,
        },
        orient="row",
    )
    decimals = {code: CURRENCIES[code].minor_units for code in _CURRENCIES}
    ours = with_total_price(nw.from_native(lines.lazy())).select(
        *lines.columns,
        found="total_price",
        decimals=nw.col("order_currency").replace_strict(decimals, return_dtype=nw.Int32),
    )
    frame: pl.DataFrame = ours.to_native().collect()
    assert frame["found"].null_count() < ROWS / 10
    with dbapi.connect(postgres_url_factory("money")) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("lines", frame.to_arrow(), mode="create")
        cursor.execute(
            "SELECT quantity::text, unit_price::text, discount::text, order_currency, found::text, expected::text "
            "FROM lines, round(quantity * unit_price - discount, decimals) AS expected "
            "WHERE found != expected LIMIT 5"
        )
        assert cursor.fetchall() == []
        cursor.execute(
            "SELECT count(*) FILTER (WHERE abs(exact - trunc(exact, decimals)) = 0.5 * 10 ^ -decimals), "
            "count(*) FILTER (WHERE exact < 0), max(exact) FILTER (WHERE found IS NOT NULL)::text "
            "FROM lines, LATERAL (SELECT quantity * unit_price - discount AS exact) AS t"
        )
        halves, negative, largest = cursor.fetchone()
    assert halves > ROWS / 50
    assert negative > ROWS / 100
    assert Decimal(largest) > 10**13
