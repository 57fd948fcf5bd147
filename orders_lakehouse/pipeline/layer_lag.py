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
    RAW_OF,
    RAW_ORDER_ITEMS,
    RAW_ORDERS,
)
from orders_lakehouse.contracts.types import MONEY_SUM, Frame
from orders_lakehouse.delta.tables import Lake, rows_of
from orders_lakehouse.pipeline.affected_dates import dates_of_orders
from orders_lakehouse.pipeline.row_accounting import unaccounted_versions

_LINE = ["order_date", "order_status", "order_id", "line_number", "total_price"]


@dataclass(frozen=True)
class Waiting:
    """What a layer lacks.

    Attributes:
        dates: Dates that it lacks, or does not have as they should be, in order.
        since: When the first of what it lacks, or has too much, was captured, by the shop's clock; None for nothing.
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
    doubtful: list[date] = pl.concat(differing)["order_date"].unique().to_list()
    if not doubtful:
        return Waiting([], None)
    # The layer first: what cleansed tables get meanwhile has not waited for long.
    copies = pl.len().over(_LINE)
    shown = lines_of(doubtful).with_columns(copies=copies)
    lines = _rows(_expected_lines(lake, doubtful)).with_columns(copies=copies)
    on = [*_LINE, "copies"]
    lacking, surplus = lines.join(shown, on=on, how="anti"), shown.join(lines, on=on, how="anti")
    # What was expected otherwise is among the lacking; the rest was taken away by a change of the line or its order.
    gone = surplus.join(lacking, on=["order_date", *ORDER_LINES.key], how="anti")
    since = [lacking["captured_at"], *([_last_captured(lake, gone)] if gone.height else [])]
    dates = pl.concat([lacking["order_date"], surplus["order_date"]]).unique().sort().to_list()
    return Waiting(dates, _first(pl.concat(since)))


def _last_captured(lake: Lake, lines: pl.DataFrame) -> pl.Series:
    """When the newest version of each line, or of its order, was captured, wherever it counts now.

    Of what raw does not know (any more), when its date began: nothing is late for longer.
    """
    wanted = lines.lazy().with_columns(pl.col("line_number").cast(pl.Int64))
    known = wanted
    for table, key in ((RAW_ORDERS, list(ORDERS.key)), (RAW_ORDER_ITEMS, list(ORDER_ITEMS.key))):
        versions = _plan(lake.scan(table).select(*key, "captured_at")).join(wanted, on=key, how="semi")
        known = known.join(
            versions.group_by(key).agg(pl.col("captured_at").max().alias(table.name)), on=key, how="left"
        )
    newest = pl.max_horizontal(RAW_ORDERS.name, RAW_ORDER_ITEMS.name)
    began = pl.col("order_date").cast(RAW_ORDERS.schema["captured_at"])
    return _rows(known.select(captured_at=pl.coalesce(newest, began)))["captured_at"]


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
        lines=pl.len().cast(pl.Int64), total=pl.col("total_price").sum().cast(pl.Decimal(*MONEY_SUM))
    )


def _first(instants: pl.Series) -> datetime | None:
    first = instants.min()
    return first if isinstance(first, datetime) else None


def _plan(frame: Frame) -> pl.LazyFrame:
    plan: pl.LazyFrame = nw.to_native(frame)
    return plan


def _rows(plan: pl.LazyFrame) -> pl.DataFrame:
    return rows_of(nw.from_native(plan))
