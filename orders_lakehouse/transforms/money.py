"""The one place where an amount is rounded."""

from decimal import Decimal

import narwhals as nw

_CENT = Decimal("0.01")
# An amount beyond this is no sale but a typing error, and two of them in ten-thousandths would not fit 64 bits.
_LARGEST = 4.0e14


def total_price(quantity: str, unit_price: str, discount: str) -> nw.Expr:
    """round(quantity * unit_price - discount, 2), half away from zero, exact.

    Engines round decimals differently, so this counts in integer ten-thousandths and rounds by itself, to the digit
    like Postgres' `round(numeric, 2)`.

    Args:
        quantity: Integer column.
        unit_price: Decimal column with at most 4 decimals.
        discount: Decimal column with at most 2 decimals.

    Returns:
        Decimal(18, 2); null where a part is null or the result would not fit.
    """
    gross = nw.col(quantity).cast(nw.Float64) * nw.col(unit_price).cast(nw.Float64)
    fits = (gross.abs() < _LARGEST) & (nw.col(discount).cast(nw.Float64).abs() < _LARGEST)
    units, price, reduction = (nw.when(fits).then(nw.col(name)) for name in (quantity, unit_price, discount))
    exact = units.cast(nw.Int64) * _ten_thousandths(price) - _ten_thousandths(reduction)
    # Integer division of a magnitude rounds down on every engine; the sign is put back afterwards.
    magnitude = (exact.abs() + 50) // 100
    cents = nw.when(exact < 0).then(-magnitude).otherwise(magnitude)
    return (cents.cast(nw.Decimal(18, 0)) * nw.lit(_CENT)).cast(nw.Decimal(18, 2))


def _ten_thousandths(amount: nw.Expr) -> nw.Expr:
    return (amount * nw.lit(10_000)).cast(nw.Int64)
