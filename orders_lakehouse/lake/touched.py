"""Which dates come out otherwise because of what the lake has learned since it was last looked at.

Worked out by whoever derives the dates, from the tables as they stand: nothing is handed over that a crash could lose.
What is derived by order date depends on raw by way of the order, and on the versions of customers and products that are
valid when an order is placed.
"""

import logging
from collections.abc import Mapping
from datetime import date
from typing import Any

import narwhals as nw
import polars as pl
from deltalake import DeltaTable

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.tables import (
    CUSTOMERS,
    KEY_DATES,
    ORDER_ITEMS,
    ORDERS,
    PAYMENTS,
    PRODUCTS,
    QUARANTINE_OF,
    RAW_ORDER_ITEMS,
    RAW_ORDERS,
    RAW_PAYMENTS,
    Table,
)
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.lake.accounts import balance
from orders_lakehouse.lake.delta import Lake, rows_of
from orders_lakehouse.lake.log import dates_changed_since, find
from orders_lakehouse.lake.storage import LakeError

log = logging.getLogger(__name__)

# Where a member of a dimension is named by a row of a date.
NAMED_BY = {CUSTOMERS: ORDERS, PRODUCTS: ORDER_ITEMS}
BY_ORDER = (RAW_ORDERS, RAW_ORDER_ITEMS, RAW_PAYMENTS)
_CLEANSED = {table.name: table for table in (ORDER_ITEMS, PAYMENTS)}
WATCHED = (*BY_ORDER, *NAMED_BY)


def versions_now(lake: Lake) -> dict[str, list[Any]]:
    """Id and version of each watched table that has been made, by its path: one that is made anew has another id."""
    handles = {table.path: find(lake, table) for table in WATCHED}
    return {path: [_id(handle), handle.version()] for path, handle in handles.items() if handle is not None}


def touched_dates(lake: Lake, since: Mapping[str, Any], calendar: Calendar) -> list[date]:
    """Order dates whose tables may come out otherwise because of what changed since some versions.

    Args:
        lake: The lake.
        since: Id and version of each watched table, by its path, up to which everything is known (or the version alone,
            as cursors had it once); the rows of a table that is not named, was made anew, or whose version is gone, all
            count as new.
        calendar: First partition and time zone.

    Returns:
        In order: the dates at which changed orders count or ever counted, those at which lines and payments wait or
        waited for them, and those of the orders that name a changed customer or product while the change is valid.
    """
    dates: set[date] = set()
    changes = {table: _changes(lake, table, since.get(table.path)) for table in BY_ORDER}
    if any(rows.height for rows in changes.values()):
        dates.update(dates_of_orders(lake, changes))
    for members, naming in NAMED_BY.items():
        changed = _changes(lake, members, since.get(members.path))
        if changed.height:
            dates.update(dates_of_members(lake, members, naming, changed, calendar))
    return sorted(dates)


def unaccounted_dates(lake: Lake, tables: tuple[Table, ...], calendar: Calendar, last: date) -> list[date]:
    """Dates of cleansed tables at which raw has versions that they do not account for."""
    found: set[date] = set()
    for table in tables:
        by_date = balance(lake, table, calendar.start, last, calendar)
        found.update(by_date.filter(pl.col("captured") != pl.col("accounted"))["date"])
    return sorted(found)


def _changes(lake: Lake, table: Table, known: Any) -> pl.DataFrame:
    """Rows that a table has and did not have at what is known of it, and the other way round; its columns."""
    handle = find(lake, table)
    if handle is None:
        return pl.DataFrame(schema=table.schema)
    made, version = known if isinstance(known, list) else (_id(handle), known)
    if made != _id(handle):
        version = None
    elif handle.version() == version:
        return pl.DataFrame(schema=table.schema)
    dates = None if version is None else dates_changed_since(lake, handle, table, version)
    if dates is None:
        return rows_of(lake.scan(table).select(table.columns))
    before = lake.find(table, version)
    now, then = (_plan(lake.scan_at(one, table, dates).select(table.columns)) for one in (handle, before))
    both_ways = [
        one.join(other, on=list(table.columns), how="anti", nulls_equal=True)
        for one, other in ((now, then), (then, now))
    ]
    try:
        return _rows(pl.concat(both_ways))
    except (FileNotFoundError, LakeError) as error:
        # Vacuumed by other means than ours. If it is one of the present files, who reads all of them is told.
        log.warning("version %s of %s cannot be read, all its rows count as new: %s", version, table.path, error)
        return rows_of(lake.scan(table).select(table.columns))


def _id(handle: DeltaTable) -> str:
    return str(handle.metadata().id)


def dates_of_orders(lake: Lake, changes: Mapping[Table, pl.DataFrame]) -> set[date]:
    """Order dates that versions of orders, lines and payments touch.

    Args:
        lake: The lake.
        changes: By raw table (all three), order_id and captured_on of its versions, and payment_id of payments.
    """
    index = _plan(lake.scan(KEY_DATES))
    # A payment may have named another order before.
    payments = changes[RAW_PAYMENTS].select(key="payment_id").unique()
    named = index.filter(pl.col("table_name") == RAW_PAYMENTS.name).join(
        payments.lazy(), on="key", how="semi", nulls_equal=True
    )
    of_payments = _rows(named.select("order_id"))
    orders = pl.concat([of_payments, *(rows.select("order_id") for rows in changes.values())]).unique()
    known = _rows(
        index.filter(pl.col("table_name") == RAW_ORDERS.name)
        .join(orders.lazy(), on="order_id", how="semi", nulls_equal=True)
        .select("order_id", "order_date")
        .unique()
    )
    dates = set(known["order_date"].drop_nulls())
    for table in (RAW_ORDER_ITEMS, RAW_PAYMENTS):
        without_order = changes[table].join(known, on="order_id", how="anti", nulls_equal=True)
        dates.update(without_order["captured_on"])
        # Where rows wait for an order: in quarantine or, when they are deleted themselves, as tombstones.
        places = (lake.scan(QUARANTINE_OF[table.name]), lake.scan(_CLEANSED[table.name]).filter(nw.col("is_deleted")))
        for place in places:
            waiting = _plan(place.select("order_id", "order_date"))
            dates.update(_rows(waiting.join(orders.lazy(), on="order_id", how="semi", nulls_equal=True))["order_date"])
    return dates


def dates_of_members(lake: Lake, members: Table, naming: Table, changed: pl.DataFrame, calendar: Calendar) -> set[date]:
    """Order dates that versions of customers or products touch.

    Args:
        lake: The lake.
        members: The cleansed table of the versions.
        naming: The cleansed table whose rows name them.
        changed: The key, updated_at and captured_on of the versions that appeared or went.
        calendar: First partition and time zone.
    """
    key = members.key[0]
    keys = changed.select(key).unique()
    valid = _plan(lake.scan(members)).join(keys.lazy(), on=key, how="semi").select(key, "updated_at")
    spans = valid_spans(changed.select(key, "updated_at"), _rows(valid), key, calendar.timezone)
    rows = _plan(lake.scan(naming)).join(keys.lazy(), on=key, how="semi").select(key, "order_date").unique()
    # The date of its capture brings a member that nobody has named yet to the dimension.
    captured = set(changed["captured_on"])
    named = (
        _rows(rows)
        .join(spans, on=key)
        .filter(
            pl.col("order_date") >= pl.col("first").fill_null(date.min),
            pl.col("order_date") <= pl.col("last").fill_null(date.max),
        )
    )
    return captured | set(named["order_date"])


def valid_spans(changed: pl.DataFrame, valid: pl.DataFrame, key: str, timezone: str) -> pl.DataFrame:
    """On which dates it matters that versions appeared or went.

    Args:
        changed: key, updated_at of the versions that appeared or went.
        valid: key, updated_at of the versions of these members that are valid now.
        key: Column that identifies a member.
        timezone: In which an instant has a date.

    Returns:
        key, first (null: from the beginning of time), last (null: until further notice): from each changed version to
        the valid one after it; the first version of a member is valid from the beginning.
    """
    at = pl.col("updated_at")
    others = valid.unique().rename({"updated_at": "valid_at"})
    spans = (
        changed.unique()
        .join(others, on=key, how="left")
        .group_by(key, "updated_at")
        .agg(
            has_earlier=(pl.col("valid_at") < at.first()).any(),
            ends=pl.col("valid_at").filter(pl.col("valid_at") > at.first()).min(),
        )
    )
    day = {"first": pl.when(pl.col("has_earlier")).then(at), "last": pl.col("ends")}
    return spans.select(key, **{name: said.dt.convert_time_zone(timezone).dt.date() for name, said in day.items()})


def _plan(frame: Frame) -> pl.LazyFrame:
    """In Polars, whose joins find a null in a null: a row may lack its key, and its versions count all the same."""
    plan: pl.LazyFrame = nw.to_native(frame)
    return plan


def _rows(plan: pl.LazyFrame) -> pl.DataFrame:
    return rows_of(nw.from_native(plan))
