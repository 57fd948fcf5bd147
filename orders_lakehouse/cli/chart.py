"""Revenue by month, as a chart in the terminal."""

import polars as pl
from rich.bar import Bar

from orders_lakehouse.cli.formatting import console, grid
from orders_lakehouse.contracts.codes import CURRENCIES

_MONTHS = 24
_BAR_WIDTH = 40


def revenue_by_month(daily_sales: pl.DataFrame) -> pl.DataFrame:
    """Sum sales by month.

    Args:
        daily_sales: Columns of `curated/daily_sales`.

    Returns:
        currency, month (text, yyyy-mm), net (in the currency); the last 24 months of each currency that have orders, in
        order.
    """
    months = daily_sales.group_by("currency", month=pl.col("order_date").dt.strftime("%Y-%m")).agg(pl.col("net").sum())
    return (
        months.sort("currency", "month")
        .group_by("currency", maintain_order=True)
        .tail(_MONTHS)
        .select("currency", "month", "net")
    )


def show_revenue(daily_sales: pl.DataFrame) -> None:
    """Print a chart for each currency; nothing when there are no sales."""
    months = revenue_by_month(daily_sales)
    for (currency,), rows in months.group_by("currency", maintain_order=True):
        table = grid()
        table.add_column("month")
        table.add_column("", width=_BAR_WIDTH)
        table.add_column("revenue", justify="right")
        decimals = CURRENCIES[str(currency)].minor_units
        highest = float(rows["net"].max() or 0) or 1.0  # type: ignore[arg-type]
        for _, month, net in rows.iter_rows():
            bar = Bar(highest, 0, float(net), width=_BAR_WIDTH, color="green")
            table.add_row(month, bar, f"{net:,.{decimals}f}")
        title = f"\n[bold]Revenue by month, {currency}, without cancelled and returned orders[/]"
        console().print(title, table, sep="\n")
