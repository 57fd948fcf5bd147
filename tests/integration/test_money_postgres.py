"""The one rounding, against Postgres' own."""

import random
from collections.abc import Callable
from decimal import Decimal

import narwhals as nw
import polars as pl
from adbc_driver_postgresql import dbapi

from orders_lakehouse.transforms.money import total_price

ROWS = 20_000
# Quantities and prices from the everyday to the edge of what is counted; the halves that decide are frequent in all.
_LARGEST_QUANTITIES = (3, 1000, 2**31 - 1)


def _line(dice: random.Random) -> tuple[int, Decimal, Decimal]:
    quantity = dice.randint(-2, dice.choice(_LARGEST_QUANTITIES))
    most = min(10**14 - 1, 39 * 10**13 // max(1, abs(quantity)))
    price = Decimal(dice.randint(0, dice.choice((10, 10_000, most)) * 10_000)).scaleb(-4)
    if dice.random() < 0.5:
        price = price.quantize(Decimal("0.01")) + Decimal("0.005")
    discount = Decimal(dice.randint(-100, dice.choice((1, 10_000, 10**15)))).scaleb(-2)
    return quantity, price, discount


def test_totals_are_to_the_digit_those_of_postgres(postgres_url_factory: Callable[[str], str]) -> None:
    dice = random.Random(20_170_101)  # noqa: S311 (a sample, not a secret)
    lines = pl.DataFrame(
        [_line(dice) for _ in range(ROWS)],
        schema={"quantity": pl.Int32, "unit_price": pl.Decimal(18, 4), "discount": pl.Decimal(18, 2)},
        orient="row",
    )
    ours = nw.from_native(lines.lazy()).with_columns(found=total_price("quantity", "unit_price", "discount"))
    frame: pl.DataFrame = ours.to_native().collect()
    with dbapi.connect(postgres_url_factory("money")) as connection, connection.cursor() as cursor:
        cursor.adbc_ingest("lines", frame.to_arrow(), mode="create")
        cursor.execute(
            "SELECT quantity, unit_price::text, discount::text, found::text, expected::text "
            "FROM lines, round(quantity * unit_price - discount, 2) AS expected "
            "WHERE found IS DISTINCT FROM expected LIMIT 5"
        )
        assert cursor.fetchall() == []
        cursor.execute(
            "SELECT count(*) FILTER (WHERE abs(exact - trunc(exact, 2)) = 0.005), count(*) FILTER (WHERE exact < 0), "
            "max(exact)::text FROM lines, LATERAL (SELECT quantity * unit_price - discount AS exact) AS t"
        )
        halves, negative, largest = cursor.fetchone()
    assert halves > ROWS / 10
    assert negative > ROWS / 100
    assert Decimal(largest) > 10**14
