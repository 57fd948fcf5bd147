"""Columns and rules that a child of an order has from its order: the date, the order's state, and reasons to reject."""

from datetime import date

import narwhals as nw
import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import rule
from orders_lakehouse.contracts.cleansed import Cleansed
from orders_lakehouse.contracts.types import Frame

# States of a child's order, in `order_state`.
VALID, DELETED, QUARANTINED, UNKNOWN = "valid", "deleted", "quarantined", "unknown"
BEFORE_START = "before_start"

# Reasons that come from a child's order. A row with only such a reason returns when its order changes.
ORDER_UNKNOWN, ORDER_QUARANTINED, ORDER_BEFORE_START = "order_unknown", "order_quarantined", "order_before_start"
OF_THE_ORDER = (ORDER_UNKNOWN, ORDER_QUARANTINED, ORDER_BEFORE_START)

# Reasons that are no error: an order from before the first partition is left out, and so are its children.
ORDERED_BEFORE_START = "ordered_before_start"
BEFORE_THE_START = (ORDERED_BEFORE_START, ORDER_BEFORE_START)


class OfOrder(Cleansed):
    """Columns that a child of an order has from its order, and the rules for them."""

    order_date: pl.Date = pa.Field(
        description="Business date of the order; the capture date where the order is not known"
    )
    order_state: pl.String = pa.Field(
        isin=(VALID, DELETED, QUARANTINED, UNKNOWN, BEFORE_START), description="State of the row's order"
    )
    order_currency: pl.String = pa.Field(nullable=True, description="Currency of the row's order, ISO 4217")

    @rule
    def order_unknown(cls) -> nw.Expr:
        """The order has been captured."""
        return nw.col("order_state") != UNKNOWN

    @rule
    def order_quarantined(cls) -> nw.Expr:
        """The order itself is valid."""
        return nw.col("order_state") != QUARANTINED

    @rule
    def order_before_start(cls) -> nw.Expr:
        """The order was not placed before the first partition."""
        return nw.col("order_state") != BEFORE_START


def with_order(current: Frame, states: Frame, parent_key: str, first: date, last: date) -> Frame:
    """Join the order's state, and keep the rows that count at the dates.

    Args:
        current: Current children.
        states: The order's key, order_date, order_state, and what children inherit; an unknown order has no date.
        parent_key: Column that names the order.
        first: First business date.
        last: Last business date.

    Returns:
        The rows with the columns of `states`. A row without an order counts at its capture date. A row that names an
        order which is not in `states` counts at another date, and is left out.
    """
    joined = current.join(states, on=parent_key, how="left")
    state = nw.when(nw.col(parent_key).is_null()).then(nw.lit(UNKNOWN)).otherwise(nw.col("order_state"))
    dated = joined.with_columns(order_state=state).with_columns(
        order_date=nw.when(nw.col("order_state") == UNKNOWN).then(nw.col("captured_on")).otherwise(nw.col("order_date"))
    )
    return dated.filter(~nw.col("order_state").is_null(), nw.col("order_date").is_between(nw.lit(first), nw.lit(last)))
