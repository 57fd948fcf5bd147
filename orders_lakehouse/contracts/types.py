"""Types that the contracts share. Money is decimal, an instant is UTC in microseconds."""

from typing import Annotated, Any

import narwhals as nw
import polars as pl

Frame = nw.LazyFrame[Any]  # a query plan, on any engine

Instant = Annotated[pl.Datetime, "us", "UTC"]
Money = Annotated[pl.Decimal, 18, 4]  # amounts in a currency's main unit, rounded to its minor unit
Price = Annotated[pl.Decimal, 24, 8]  # prices of one unit, before rounding to an amount
Quantity = Annotated[pl.Decimal, 18, 6]  # how much of something, in its unit
MoneySum = Annotated[pl.Decimal, 38, 4]  # sums of amounts in one currency
QuantitySum = Annotated[pl.Decimal, 38, 6]  # sums of quantities

# Precision and scale of these types, for computations.
MONEY, PRICE, QUANTITY, MONEY_SUM, QUANTITY_SUM = (18, 4), (24, 8), (18, 6), (38, 4), (38, 6)
