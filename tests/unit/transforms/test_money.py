"""The one rounding, against Python's decimals; `tests/integration/test_money_postgres.py` has it against Postgres."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orders_lakehouse.transforms.money import total_price
from tests.unit.conftest import Lazily, collected, on_polars

Line = tuple[int | None, Decimal | None, Decimal | None]

LARGEST_PRICE = Decimal("99999999999999.9999")


def _totals(lazily: Lazily, lines: list[Line]) -> list[Decimal | None]:
    schema = {"n": pl.Int64, "quantity": pl.Int32, "unit_price": pl.Decimal(18, 4), "discount": pl.Decimal(18, 2)}
    frame = lazily(pl.DataFrame([(n, *line) for n, line in enumerate(lines)], schema=schema, orient="row"))
    made = collected(frame.with_columns(total_price("quantity", "unit_price", "discount").alias("made")))
    assert made.schema["made"] == pl.Decimal(18, 2)
    return made.sort("n")["made"].to_list()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (("1", "1.005", "0"), "1.01"),
        (("1", "1.0049", "0"), "1.00"),
        (("1", "1.0050", "0.01"), "1.00"),
        (("3", "3.3350", "0.01"), "10.00"),
        (("1", "0.0050", "0"), "0.01"),
        (("1", "0.0049", "0"), "0.00"),
        (("1", "0.0050", "0.01"), "-0.01"),
        (("1", "0.0051", "0.01"), "0.00"),
        (("1", "0", "1.00"), "-1.00"),
        (("0", "5.5555", "0"), "0.00"),
        (("-1", "1.0050", "0"), "-1.01"),
        (("2147483647", "0.0001", "0"), "214748.36"),
        (("8", "9999999999.9999", "0.01"), "79999999999.99"),
    ],
)
def test_a_total_is_rounded_half_away_from_zero(lazily: Lazily, line: tuple[Any, Any, Any], expected: str) -> None:
    quantity, unit_price, discount = line
    (found,) = _totals(lazily, [(int(quantity), Decimal(unit_price), Decimal(discount))])
    assert str(found) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ((2**31 - 1, Decimal("186000.0000"), Decimal(0)), "399431958342000.00"),
        ((3, LARGEST_PRICE, Decimal(0)), "300000000000000.00"),
        ((1, LARGEST_PRICE, Decimal("0.01")), "99999999999999.99"),
        ((1, Decimal(0), Decimal("399999999999999.00")), "-399999999999999.00"),
    ],
)
def test_a_total_is_exact_up_to_the_largest_that_fits(line: Line, expected: str) -> None:
    assert [str(found) for found in _totals(on_polars, [line])] == [expected]


_QUANTITIES = st.integers(0, 100) | st.integers(-(2**31), 2**31 - 1)
_PRICES = st.decimals(0, 1000, places=4) | st.decimals(-LARGEST_PRICE, LARGEST_PRICE, places=4)
_DISCOUNTS = st.decimals(0, 1000, places=2) | st.decimals(-(10**14), 10**14, places=2)


def _exactly(quantity: int, unit_price: Decimal, discount: Decimal) -> Decimal:
    return (quantity * unit_price - discount).quantize(Decimal("0.01"), ROUND_HALF_UP)


@given(st.lists(st.tuples(_QUANTITIES, _PRICES, _DISCOUNTS), min_size=1, max_size=100))
@example([(2, Decimal("0.0025"), Decimal(0)), (-2, Decimal("0.0025"), Decimal(0))])
@settings(max_examples=150, deadline=None)
def test_every_total_that_fits_is_that_of_exact_decimals_and_every_other_is_null(
    lines: list[tuple[int, Decimal, Decimal]],
) -> None:
    for line, found in zip(lines, _totals(on_polars, [*lines]), strict=True):
        gross = abs(line[0] * line[1])
        if gross < Decimal("3.99e14"):
            assert found == _exactly(*line), line
        elif gross > Decimal("4.01e14"):
            assert found is None, line


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_a_total_without_one_of_its_parts_is_null(lazily: Lazily, absent: int) -> None:
    parts: list[Any] = [1, Decimal("1.0000"), Decimal("0.00")]
    parts[absent] = None
    assert _totals(lazily, [(parts[0], parts[1], parts[2])]) == [None]


def test_a_line_that_cannot_be_real_is_null_and_leaves_its_neighbours_alone() -> None:
    sane = (3, Decimal("2.5000"), Decimal("0.50"))
    absurd = (2**31 - 1, LARGEST_PRICE, Decimal(0))
    assert _totals(on_polars, [sane, absurd, sane]) == [Decimal("7.00"), None, Decimal("7.00")]


@pytest.mark.parametrize("discount", ["922337203685477.59", "9999999999999999.99"])
def test_a_discount_that_cannot_be_real_is_null_and_leaves_its_neighbours_alone(discount: str) -> None:
    sane = (3, Decimal("2.5000"), Decimal("0.50"))
    assert _totals(on_polars, [sane, (1, Decimal(1), Decimal(discount))]) == [Decimal("7.00"), None]


@pytest.mark.parametrize("sign", [1, -1])
def test_two_large_parts_that_add_up_are_exact_or_null(sign: int) -> None:
    line = (-3 * sign, LARGEST_PRICE, Decimal("390000000000000.00") * sign)
    assert _totals(on_polars, [line])[0] in (None, _exactly(*line))
