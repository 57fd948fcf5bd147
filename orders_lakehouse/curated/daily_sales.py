"""Daily sales: order lines summed by date and currency."""

from collections.abc import Mapping
from typing import ClassVar

import narwhals as nw
import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract, rule
from orders_lakehouse.contracts.column_rules import CURRENCIES, IN_ISO_4217
from orders_lakehouse.contracts.types import MONEY_SUM, QUANTITY_SUM, Frame, MoneySum, QuantitySum
from orders_lakehouse.curated.base import ByDate, Curated, Volume, curated_table
from orders_lakehouse.curated.order_lines import ORDER_LINES, REVERSED

# Types of sums. Summands are cast first, because Spark gives a sum ten digits more than its summands.
_AMOUNTS, _QUANTITIES = nw.Decimal(*MONEY_SUM), nw.Decimal(*QUANTITY_SUM)


class DailySales(Contract):
    """One row per date and currency, over the lines of `curated/order_lines`."""

    class Config(Contract.Config):
        """Since version 2 quantities, prices and amounts are exact decimals, rounded by currency."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}

    order_date: pl.Date = pa.Field(description="Business date")
    currency: pl.String = pa.Field(isin=CURRENCIES, description="Currency, ISO 4217", metadata=IN_ISO_4217)
    orders: pl.Int64 = pa.Field(ge=1, description="Orders with at least one valid line")
    lines: pl.Int64 = pa.Field(ge=1, description="Order lines")
    units: QuantitySum = pa.Field(gt=0, description="Units sold", metadata={"unit": "units"})
    gross: MoneySum = pa.Field(ge=0, description="Sum of total_price", metadata={"unit": "currency"})
    net: MoneySum = pa.Field(
        ge=0, description="Sum of total_price of orders neither cancelled nor returned", metadata={"unit": "currency"}
    )

    @rule
    def net_above_gross(cls) -> nw.Expr:
        """Net is at most gross."""
        return nw.col("net") <= nw.col("gross")


DAILY_SALES = curated_table(
    "daily_sales",
    DailySales,
    ("order_date", "currency"),
    (ORDER_LINES,),
    computed={
        "orders": [(ORDER_LINES, "order_id")],
        "lines": [],
        "units": [(ORDER_LINES, "quantity")],
        "gross": [(ORDER_LINES, "total_price")],
        "net": [(ORDER_LINES, "total_price"), (ORDER_LINES, "order_status")],
    },
)


def daily_sales(lines: Frame) -> Frame:
    """Sum order lines by date and currency.

    Args:
        lines: Rows of `curated/order_lines`.

    Returns:
        Rows of `curated/daily_sales`.
    """
    net = nw.when(~nw.col("order_status").is_in(REVERSED)).then(nw.col("total_price"))
    by_order = (
        lines.with_columns(net=net)
        .group_by("order_date", "currency", "order_id")
        .agg(
            lines=nw.len(),
            units=nw.col("quantity").cast(_QUANTITIES).sum(),
            gross=nw.col("total_price").cast(_AMOUNTS).sum(),
            net=nw.col("net").cast(_AMOUNTS).sum(),
        )
    )
    return (
        by_order.group_by("order_date", "currency")
        .agg(
            orders=nw.len().cast(nw.Int64),
            lines=nw.col("lines").sum().cast(nw.Int64),
            units=nw.col("units").sum().cast(_QUANTITIES),
            gross=nw.col("gross").sum().cast(_AMOUNTS),
            net=nw.col("net").sum().cast(_AMOUNTS),
        )
        .select(DAILY_SALES.columns)
    )


def sales_by_date(sales: pl.DataFrame) -> Mapping[str, pl.DataFrame]:
    """Return net sales and orders by date, in the currency of most orders; amounts of currencies are never added."""
    if sales.is_empty():
        return {}
    currency = sales.group_by("currency").agg(pl.col("orders").sum()).sort("orders", "currency").item(-1, "currency")
    most = sales.filter(currency=currency).rename({"order_date": "date"})
    return {
        f"net sales, {currency}": most.select("date", value="net"),
        f"orders in {currency}": most.select("date", value="orders"),
    }


CURATED = Curated(
    DAILY_SALES,
    ByDate(dated=(ORDER_LINES,), make=daily_sales),
    volume=Volume("Orders and net sales", by="currency", measures=("orders", "net")),
    drawn_by_date=sales_by_date,
)
