"""Round amounts. No other module rounds them."""

from decimal import Decimal
from functools import reduce
from operator import or_

import narwhals as nw

from orders_lakehouse.contracts.codes import MOST_MINOR_UNITS, USUAL_MINOR_UNITS, currencies_with
from orders_lakehouse.contracts.types import MONEY, PRICE, QUANTITY, Frame

# Largest amount, quantity and price that fit their types.
_LARGEST, _LARGEST_QUANTITY, _LARGEST_PRICE = 9.9e13, 9.99e11, 9.9e15
# Number of decimals of a quantity times a price.
_DECIMALS = 14
# Half of the smallest digit after those. Added away from zero, it moves a half to where every engine rounds it up.
_NUDGE = Decimal("0.000000000000005")


# Temporary columns of the computation; no column of ours begins so.
_FITS, _UNITS, _PRICE, _WHOLE, _EXACT, _NUDGED = (f"total__{step}" for step in range(6))


def with_total_price(rows: Frame) -> Frame:
    """Add `total_price`: quantity * unit_price - discount, rounded half away from zero to the minor unit, exactly.

    The result equals Postgres' `round(numeric, decimals)` to the digit. Engines give a product of decimals different
    types: Polars keeps the larger scale, Spark adds the scales and cuts at 38 digits. So the price is split into a
    whole number and a rest of at most a half; both products are exact on either engine, however it rounds the whole
    number. The steps are separate columns, because an engine computes an expression again for each use.

    Args:
        rows: quantity (at most 6 decimals), unit_price (8), discount (4), each as parsed by `columns.number`;
            order_currency, ISO 4217: null counts as a currency with two decimals.

    Returns:
        The rows with total_price, Decimal(18, 4): null where a part is null or unusable, or where the result would not
        fit.
    """
    parts = {"quantity": QUANTITY, "unit_price": PRICE, "discount": MONEY}
    quantity, price, discount = (nw.col(name).cast(nw.Float64) for name in parts)
    unreadable = (nw.col(name) == nw.lit(Decimal(1).scaleb(-scale - 1)) for name, (_, scale) in parts.items())
    total = quantity * price - discount
    fits = (total.abs() < _LARGEST) & (discount.abs() < _LARGEST) & ~reduce(or_, unreadable)
    fits = fits & (quantity.abs() < _LARGEST_QUANTITY) & (price.abs() < _LARGEST_PRICE)
    units, whole, exact = nw.col(_UNITS), nw.col(_WHOLE), nw.col(_EXACT)
    in_digits = nw.Decimal(32, _DECIMALS + 1)
    products = (units * whole).cast(nw.Decimal(22, 6)) + (units * (nw.col(_PRICE) - whole).cast(nw.Decimal(15, 14)))
    nudge = nw.when(exact < 0).then(nw.lit(-_NUDGE)).otherwise(nw.lit(_NUDGE))
    rounded = _rounded(nw.col(_NUDGED), nw.col("order_currency"))
    return (
        rows.with_columns(fits.alias(_FITS))
        .with_columns(
            nw.when(nw.col(_FITS)).then(nw.col("quantity")).cast(nw.Decimal(*QUANTITY)).alias(_UNITS),
            nw.when(nw.col(_FITS)).then(nw.col("unit_price")).cast(nw.Decimal(*PRICE)).alias(_PRICE),
        )
        .with_columns(nw.col(_PRICE).cast(nw.Decimal(16, 0)).alias(_WHOLE))
        .with_columns((products - nw.col("discount")).cast(in_digits).alias(_EXACT))
        .with_columns((exact + nudge).cast(in_digits).alias(_NUDGED))
        .with_columns(total_price=rounded.cast(nw.Decimal(*MONEY)))
        .drop(_FITS, _UNITS, _PRICE, _WHOLE, _EXACT, _NUDGED)
    )


def _rounded(amount: nw.Expr, currency: nw.Expr) -> nw.Expr:
    """Round an amount, nudged off the half, to the decimals of its currency."""
    rounded = amount.round(USUAL_MINOR_UNITS)
    for units in (0, 3, MOST_MINOR_UNITS):
        rounded = nw.when(currency.is_in(currencies_with(units))).then(amount.round(units)).otherwise(rounded)
    return rounded
