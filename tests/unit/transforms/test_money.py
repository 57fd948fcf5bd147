"""The rounding of the lake, against Python's decimals; integration/warehouse/test_rounding.py asks Postgres."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orders_lakehouse.contracts.codes import CURRENCIES
from orders_lakehouse.transforms.money import with_total_price
from tests.support.frames import Lazily, collected, on_polars

Line = tuple[Decimal | None, Decimal | None, Decimal | None, str | None]

LARGEST_PRICE = Decimal("9999999999999999.99999999")
_SCHEMA = {
    "n": pl.Int64,
    "quantity": pl.Decimal(20, 7),
    "unit_price": pl.Decimal(26, 9),
    "discount": pl.Decimal(20, 5),
    "order_currency": pl.String,
}


def _totals(lazily: Lazily, lines: list[Line]) -> list[Decimal | None]:
    frame = lazily(pl.DataFrame([(n, *line) for n, line in enumerate(lines)], schema=_SCHEMA, orient="row"))
    made = collected(with_total_price(frame).select("n", made="total_price"))
    assert made.schema["made"] == pl.Decimal(18, 4)
    return made.sort("n")["made"].to_list()


def _line(quantity: str, unit_price: str, discount: str, currency: str | None = "EUR") -> Line:
    return Decimal(quantity), Decimal(unit_price), Decimal(discount), currency


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
        (("1.5", "0.67", "0"), "1.01"),
        (("0.000001", "4999.99999999", "0"), "0.00"),
        (("0.000001", "5000", "0"), "0.01"),
        (("0.333333", "0.00000003", "0"), "0.00"),
        (("1", "0.5", "0", "JPY"), "1"),
        (("1", "0.49999999", "0", "JPY"), "0"),
        (("3", "33.5", "0", "JPY"), "101"),
        (("1", "1.235", "0", "KWD"), "1.235"),
        (("1", "1.2345", "0", "KWD"), "1.235"),
        (("1", "1.23444999", "0", "KWD"), "1.234"),
        (("1", "1.23455", "0", "CLF"), "1.2346"),
        (("1", "1.235", "0", None), "1.24"),
        (("1", "1.235", "0", "no currency"), "1.24"),
    ],
)
def test_total_is_rounded_half_away_from_zero_to_minor_unit(
    lazily: Lazily, line: tuple[Any, ...], expected: str
) -> None:
    assert _totals(lazily, [_line(*line)]) == [Decimal(expected)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (("999999999", "98999.99999999", "0"), "98999999900990.00"),
        (("0.009", LARGEST_PRICE / 2, "0"), "45000000000000.00"),
        (("999999999.999999", "9", "0.01"), "8999999999.99"),
        (("1", "0", "98999999999999.00"), "-98999999999999.00"),
    ],
)
def test_total_is_exact_up_to_the_largest_that_fits(line: tuple[Any, ...], expected: str) -> None:
    assert _totals(on_polars, [_line(*line)]) == [Decimal(expected)]


_QUANTITIES = st.decimals(0, 100, places=0) | st.decimals(-999_999_999_999, 999_999_999_999, places=6)
_PRICES = st.decimals(0, 1000, places=4) | st.decimals(-LARGEST_PRICE, LARGEST_PRICE, places=8)
_DISCOUNTS = st.decimals(0, 1000, places=2) | st.decimals(-(10**13), 10**13, places=4)
_CURRENCIES = st.sampled_from(["EUR", "JPY", "KWD", "CLF", "XAU", "HRK", "ZZZ", None])


def _exactly(quantity: Decimal, unit_price: Decimal, discount: Decimal, currency: str | None) -> Decimal:
    known = CURRENCIES.get(currency or "")
    decimals = known.minor_units if known else 2
    return (quantity * unit_price - discount).quantize(Decimal(1).scaleb(-(decimals or 0)), ROUND_HALF_UP)


@given(st.lists(st.tuples(_QUANTITIES, _PRICES, _DISCOUNTS, _CURRENCIES), min_size=1, max_size=100))
@example([_line("2", "0.0025", "0"), _line("-2", "0.0025", "0"), _line("-1", "0.5", "0", "JPY")])
@settings(max_examples=150)
def test_total_equals_exact_decimals_or_is_null(lines: list[Any]) -> None:
    for line, found in zip(lines, _totals(on_polars, [*lines]), strict=True):
        quantity, unit_price, discount, _ = line
        gross = abs(quantity * unit_price)
        is_usual = abs(quantity) < Decimal("9.9e11") and abs(unit_price) < Decimal("9.8e15")
        if gross + abs(discount) < Decimal("9.8e13") and is_usual:
            assert found == _exactly(*line), line
        elif gross > Decimal("1.2e14"):
            assert found is None, line


@pytest.mark.parametrize("absent", [0, 1, 2])
def test_total_without_one_of_its_parts_is_null(lazily: Lazily, absent: int) -> None:
    parts: list[Any] = [Decimal(1), Decimal("1.0000"), Decimal("0.00"), "EUR"]
    parts[absent] = None
    assert _totals(lazily, [(parts[0], parts[1], parts[2], parts[3])]) == [None]


@pytest.mark.parametrize(
    "absurd",
    [
        _line("2147483647", "99999999999999.9999", "0"),
        _line("999999999999.999999", "9999999999999999.99999999", "0"),
        _line("1", "1", "922337203685477.59"),
        _line("1000000000000", "1", "0"),
        _line("1", "10000000000000000", "0"),
        _line("1", "1", "100000000000000"),
        _line("0.0000001", "1", "0"),
        _line("1", "0.000000001", "0"),
        _line("1", "1", "0.00001"),
    ],
)
def test_impossible_line_is_null_and_leaves_its_neighbours(absurd: Line) -> None:
    sane = _line("3", "2.5000", "0.50")
    assert _totals(on_polars, [sane, absurd, sane]) == [Decimal("7.00"), None, Decimal("7.00")]
