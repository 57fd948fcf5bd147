"""The one place where an amount is rounded."""

from decimal import Decimal
from functools import reduce
from operator import or_

import narwhals as nw

from orders_lakehouse.contracts.codes import MOST_MINOR_UNITS, USUAL_MINOR_UNITS, currencies_with
from orders_lakehouse.contracts.types import MONEY, PRICE, QUANTITY

# An amount beyond this does not fit the type of an amount.
_LARGEST = 9.9e13
# Decimals of a quantity times a price.
_DECIMALS = 14
# Half of the smallest digit behind those: added away from zero, it makes a half one that every engine rounds up.
_NUDGE = Decimal("0.000000000000005")


def rounded_to_currency(amount: nw.Expr, currency: nw.Expr) -> nw.Expr:
    """Round to the minor unit of a currency; to two decimals where the currency is not known.

    Args:
        amount: Decimal; a half has to be nudged before, as engines round it in different ways.
        currency: ISO 4217.
    """
    rounded = amount.round(USUAL_MINOR_UNITS)
    for units in (0, 3, MOST_MINOR_UNITS):
        rounded = nw.when(currency.is_in(currencies_with(units))).then(amount.round(units)).otherwise(rounded)
    return rounded


def total_price(quantity: str, unit_price: str, discount: str, currency: str) -> nw.Expr:
    """Quantity * unit_price - discount, rounded half away from zero to the currency's minor unit, exact.

    To the digit like Postgres' `round(numeric, decimals)`. Engines give a product of decimals other types (Polars keeps
    the larger scale, Spark adds the scales and cuts at 38 digits), so the price is split into a whole number and a rest
    of at most a half: both products are exact on either engine, whichever way it has rounded the whole number.

    Args:
        quantity: Decimal column with at most 6 decimals.
        unit_price: Decimal column with at most 8 decimals.
        discount: Decimal column with at most 4 decimals.
        currency: Column of the currency, ISO 4217; null counts as one with two decimals.

    Returns:
        Decimal(18, 4); null where a part is null, is one of those by which `number` says that it cannot be read, or
        where the result would not fit.
    """
    parts = ((quantity, QUANTITY[1]), (unit_price, PRICE[1]), (discount, MONEY[1]))
    size = nw.col(quantity).cast(nw.Float64) * nw.col(unit_price).cast(nw.Float64)
    fits = (
        (size.abs() < _LARGEST)
        & (nw.col(discount).cast(nw.Float64).abs() < _LARGEST)
        & (nw.col(unit_price).cast(nw.Float64).abs() < 9.9e15)
        & (nw.col(quantity).cast(nw.Float64).abs() < 9.99e11)
        & ~reduce(or_, (nw.col(name) == nw.lit(Decimal(1).scaleb(-scale - 1)) for name, scale in parts))
    )
    units = nw.when(fits).then(nw.col(quantity)).cast(nw.Decimal(*QUANTITY))
    price = nw.when(fits).then(nw.col(unit_price)).cast(nw.Decimal(24, 8))
    reduction = nw.when(fits).then(nw.col(discount)).cast(nw.Decimal(*MONEY))
    whole = price.cast(nw.Decimal(16, 0))
    rest = (price - whole).cast(nw.Decimal(15, _DECIMALS))
    exact = (
        (units * whole).cast(nw.Decimal(22, 6)).cast(nw.Decimal(31, _DECIMALS + 1))
        + (units * rest).cast(nw.Decimal(31, _DECIMALS + 1))
        - reduction
    ).cast(nw.Decimal(31, _DECIMALS + 1))
    away_from_zero = nw.when(exact < 0).then(nw.lit(-_NUDGE)).otherwise(nw.lit(_NUDGE))
    rounded = rounded_to_currency((exact + away_from_zero).cast(nw.Decimal(32, _DECIMALS + 1)), nw.col(currency))
    return nw.when(rounded.cast(nw.Float64).abs() < _LARGEST).then(rounded).cast(nw.Decimal(*MONEY))
