"""Types that the contracts share. Money is decimal, an instant is UTC in microseconds."""

from typing import Annotated, Any

import narwhals as nw
import polars as pl

Frame = nw.LazyFrame[Any]  # a plan on whichever engine runs it

Instant = Annotated[pl.Datetime, "us", "UTC"]
Money = Annotated[pl.Decimal, 18, 2]  # amounts in a currency's main unit
Price = Annotated[pl.Decimal, 18, 4]  # prices as sold, before rounding to an amount
