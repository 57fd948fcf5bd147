"""What the lake has learned and a later layer does not show yet, and since when it waits."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.tables import (
    CUSTOMERS,
    ORDER_ITEMS,
    ORDER_LINES,
    ORDERS,
    PAYMENTS,
    PRODUCTS,
    QUARANTINE_OF,
    RAW_OF,
)
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.lake.accounts import unaccounted_versions
from orders_lakehouse.lake.delta import Lake, rows_of
from orders_lakehouse.lake.touched import dates_of_orders

_LINE = ["order_date", "order_status", "order_id", "line_number", "total_price"]


@dataclass(frozen=True)
class Waiting:
    """What a layer lacks.

    Attributes:
        dates: Dates that it lacks, or does not have as they should be, in order.
        since: When the first of what it lacks was captured, by the shop's clock; None when it lacks nothing.
    """

    dates: list[date]
    since: datetime | None


def waiting_to_be_cleansed(lake: Lake) -> Waiting:
    """What stands in raw, and neither in a cleansed table nor in its quarantine."""
    by_table = {
        table: unaccounted_versions(lake, table) for table in (CUSTOMERS, PRODUCTS, ORDERS, ORDER_ITEMS, PAYMENTS)
    }
    dates = {day for table in (CUSTOMERS, PRODUCTS) for day in by_table[table]["captured_on"]}
    of_orders = {RAW_OF[table.name]: by_table[table] for table in (ORDERS, ORDER_ITEMS, PAYMENTS)}
    if any(rows.height for rows in of_orders.values()):
        dates |= dates_of_orders(lake, of_orders)
    captured = pl.concat([rows["captured_at"] for rows in by_table.values()])
    return Waiting(sorted(dates), _first(captured))


def waiting_to_be_shown(
    lake: Lake, totals: pl.DataFrame, lines_of: Callable[[Collection[date]], pl.DataFrame]
) -> Waiting:
    """What stands in cleansed tables, and not among the order lines of a later layer.

    Dates are compared by the number of lines and their total for each state of an order. What changes none of these, a
    product's name say, is left to the weekly repair.

    Args:
        lake: The lake.
        totals: order_date, order_status, lines, total of the layer.
        lines_of: Makes of some dates the lines of the layer: order_date, order_status, order_id, line_number,
            total_price.
    """
    expected = _rows(_totals(_expected_lines(lake)))
    differing = [
        one.join(other, on=totals.columns, how="anti") for one, other in ((expected, totals), (totals, expected))
    ]
    dates: list[date] = pl.concat(differing)["order_date"].unique().sort().to_list()
    if not dates:
        return Waiting([], None)
    lacking = _rows(_expected_lines(lake, dates)).join(lines_of(dates), on=_LINE, how="anti")
    # What is too much was taken away by a change of its order: the last one of the date, as far as can be told.
    too_much = [day for day in dates if day not in set(lacking["order_date"])]
    places = [
        _plan(lake.scan(place, dates=too_much).select("captured_at")) for place in (ORDERS, QUARANTINE_OF["orders"])
    ]
    removed = _rows(pl.concat(places).select(pl.col("captured_at").max()))
    return Waiting(dates, _first(pl.concat([lacking["captured_at"], removed["captured_at"].drop_nulls()])))


def curated_totals(lake: Lake) -> pl.DataFrame:
    """Lines of `curated/order_lines`: order_date, order_status, lines, total."""
    return _rows(_totals(_plan(lake.scan(ORDER_LINES).select(_LINE))))


def curated_lines(lake: Lake, dates: Collection[date]) -> pl.DataFrame:
    """Lines of some dates of `curated/order_lines`: order_date, order_status, order_id, line_number, total_price."""
    return rows_of(lake.scan(ORDER_LINES, dates=list(dates)).select(_LINE))


def _expected_lines(lake: Lake, dates: Sequence[date] | None = None) -> pl.LazyFrame:
    """Lines as later layers ought to have them, with captured_at of the line or of its order, whichever is later."""
    items, orders = (
        _plan(lake.scan(table, dates=dates)).filter(~pl.col("is_deleted")) for table in (ORDER_ITEMS, ORDERS)
    )
    states = orders.select("order_id", "order_date", "captured_at", order_status="status")
    captured = pl.max_horizontal("captured_at", "captured_at_right")
    return items.join(states, on=["order_id", "order_date"]).select(*_LINE, captured_at=captured)


def _totals(lines: pl.LazyFrame) -> pl.LazyFrame:
    return lines.group_by("order_date", "order_status").agg(
        lines=pl.len().cast(pl.Int64), total=pl.col("total_price").sum().cast(pl.Decimal(38, 2))
    )


def _first(instants: pl.Series) -> datetime | None:
    first = instants.min()
    return first if isinstance(first, datetime) else None


def _plan(frame: Frame) -> pl.LazyFrame:
    plan: pl.LazyFrame = nw.to_native(frame)
    return plan


def _rows(plan: pl.LazyFrame) -> pl.DataFrame:
    return rows_of(nw.from_native(plan))
