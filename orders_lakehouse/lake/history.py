"""All versions that a range of business dates needs, found by the index `raw/key_dates`, and no others."""

from collections.abc import Collection, Sequence
from datetime import date

import narwhals as nw
import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.cleansed import UNKNOWN
from orders_lakehouse.contracts.tables import KEY_DATES, ORDERS, QUARANTINE_OF, RAW_OF, RAW_ORDERS, Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.lake.delta import Lake, keep, rows_of
from orders_lakehouse.transforms.orders import order_states, with_order_date

# By which a row's history is found: all versions of an order's lines share its order_id, but a payment may name another
# order from one version to the next.
_KEY = {"orders": "order_id", "order_items": "order_id", "payments": "payment_id"}


def key_dates_of(table: Table, rows: pl.DataFrame, calendar: Calendar) -> pl.DataFrame | None:
    """Index entries of rows that are about to be captured.

    Args:
        table: Raw table of the rows.
        rows: Columns of that table.
        calendar: First partition and time zone.

    Returns:
        Rows of `raw/key_dates`, each once; None for a table that the index does not hold.
    """
    if table.name not in _KEY:
        return None
    frame = nw.from_native(rows.lazy())
    if table.name == RAW_ORDERS.name:
        frame = with_order_date(frame, calendar)
    else:
        frame = frame.with_columns(order_date=nw.lit(None).cast(nw.Date))
    entries = frame.select(
        nw.lit(table.name).alias("table_name"),
        nw.col(_KEY[table.name]).alias("key"),
        "order_id",
        "captured_on",
        "order_date",
    )
    return rows_of(entries.unique())


def record_key_dates(lake: Lake, table: Table, rows: pl.DataFrame, calendar: Calendar) -> int:
    """Write the index entries of rows that are about to be captured, those that are not there yet; returns how many."""
    entries = key_dates_of(table, rows, calendar)
    if entries is None:
        return 0
    captured: list[date] = entries["captured_on"].unique().to_list()
    known = lake.scan(KEY_DATES).filter(nw.col("table_name") == table.name, nw.col("captured_on").is_in(captured))
    new = entries.join(rows_of(known), on=list(KEY_DATES.key), how="anti", nulls_equal=True)
    lake.append(KEY_DATES, new.sort("captured_on", "order_date", "key"))
    return new.height


def rebuild_key_dates(lake: Lake, calendar: Calendar) -> int:
    """Write the index entries that versions in raw lack. A superset is harmless, so nothing is removed.

    Returns:
        How many were missing.
    """
    return sum(record_key_dates(lake, RAW_OF[name], rows_of(lake.scan(RAW_OF[name])), calendar) for name in _KEY)


def versions_of_orders(lake: Lake, first: date, last: date) -> Frame:
    """All versions of the orders that ever counted at a date from `first` to `last`: rows of `raw/orders`."""
    index = _index(lake, RAW_ORDERS)
    keys = index.filter(nw.col("order_date").is_between(nw.lit(first), nw.lit(last)))
    return _versions(lake, RAW_ORDERS, keys.select("key").unique())


def children_of_orders(lake: Lake, table: Table, first: date, last: date) -> tuple[Frame, Frame]:
    """What the lines or payments of a range of dates are derived from.

    Args:
        lake: The lake.
        table: `raw/order_items` or `raw/payments`.
        first: First business date.
        last: Last business date.

    Returns:
        All versions of the rows that name, or ever named, an order of the dates, or that were captured within them and
        name an order that is not known; and the states of those orders (order_id, order_date, order_state).
    """
    states = keep(
        order_states(
            lake.scan(ORDERS, between=(first, last)), lake.scan(QUARANTINE_OF["orders"], between=(first, last))
        )
    )
    named = lake.scan(table, between=(first, last)).select(nw.col(_KEY[table.name]).alias("key"), "order_id").unique()
    orphans = keep(_without_order(lake, keep(named)))
    unknown = orphans.select("order_id", nw.lit(None).cast(nw.Date).alias("order_date")).unique()
    of_orders = _index(lake, table).join(states.select("order_id"), on="order_id", how="semi").select("key")
    keys = nw.concat([of_orders, orphans.select("key")]).unique()
    return _versions(lake, table, keys), nw.concat([states, unknown.with_columns(order_state=nw.lit(UNKNOWN))])


def versions_of_row(lake: Lake, table: Table, key: Sequence[str]) -> pl.DataFrame:
    """All versions of a row.

    Args:
        lake: The lake.
        table: Its raw table.
        key: Values of the table's key, as text.

    Returns:
        Columns of the table, the oldest capture first.
    """
    if table.name in _KEY:
        rows = _versions(lake, table, nw.from_native(pl.LazyFrame({"key": [key[0]]})))
    else:
        rows = lake.scan(table)
    is_row = [nw.col(name).cast(nw.String) == value for name, value in zip(table.key, key, strict=True)]
    return rows_of(rows.filter(*is_row)).sort("captured_at", "updated_at")


def dates_of_keys(lake: Lake, table: Table, keys: Sequence[str]) -> list[date]:
    """Dates at which rows count or ever counted, as far as raw knows.

    Args:
        lake: The lake.
        table: Their cleansed table.
        keys: By which their history is found: order_id of orders and lines, payment_id, customer_id, product_id.

    Returns:
        In order. Customers, products, and what has no known order count at the dates of their capture.
    """
    if table.name not in _KEY:
        rows = lake.scan(RAW_OF[table.name]).filter(nw.col(table.key[0]).is_in(keys)).select("captured_on")
        return sorted(rows_of(rows.unique())["captured_on"])
    entries = keep(_index(lake, RAW_OF[table.name]).filter(nw.col("key").is_in(keys)).unique())
    orders = _index(lake, RAW_ORDERS).select("order_id", placed="order_date")
    dated = entries.join(orders, on="order_id", how="left")
    # Without its order, a row counts where it was captured.
    counts_at = nw.when(nw.col("placed").is_null()).then(nw.col("captured_on")).otherwise(nw.col("placed"))
    return sorted(rows_of(dated.select(date=counts_at).unique())["date"])


def _without_order(lake: Lake, named: Frame) -> Frame:
    """The rows whose order has never been captured. The index alone does not tell: it may be ahead of raw."""
    order_ids = named.select("order_id").unique()
    known = _versions(lake, RAW_ORDERS, order_ids.select(nw.col("order_id").alias("key"))).select("order_id")
    return named.join(known, on="order_id", how="anti")


def _index(lake: Lake, table: Table) -> Frame:
    # Captures write the index before raw. Where a lake stands still, raw must not be the newer of the two: its versions
    # would be there, and no entry that finds them.
    lake.open(table)
    return lake.scan(KEY_DATES).filter(nw.col("table_name") == table.name)


def _versions(lake: Lake, table: Table, keys: Frame) -> Frame:
    """All rows of a raw table with one of the keys, read from the capture dates that hold them."""
    keys = keep(keys)
    dates = keep(_index(lake, table).join(keys, on="key", how="semi").select("captured_on").unique())
    rows = lake.scan(table, dates=_column(dates, "captured_on"))
    return rows.join(keys, left_on=_KEY[table.name], right_on="key", how="semi")


def _column(frame: Frame, name: str) -> Sequence[date]:
    values: list[date] = rows_of(frame)[name].to_list()
    return values


def dates_of_moved_rows(lake: Lake, table: Table, dates: Collection[date]) -> tuple[Frame, list[date]]:
    """Rows that ever counted at more than one date, at one of these among them; no other row can stand twice.

    Args:
        lake: The lake.
        table: `cleansed/orders`, `cleansed/order_items` or `cleansed/payments`.
        dates: Order dates.

    Returns:
        The column by which a history is found (order_id, for payments payment_id), each once; and all dates at which
        these rows ever counted, in order.
    """
    key = _KEY[table.name]
    places = nw.col("order_date")
    orders = _index(lake, RAW_ORDERS).select("order_id", "order_date").unique()
    here = orders.filter(places.is_in(list(dates))).select("order_id")
    if table.name == "payments":
        # A payment moves with its order, and when it names another one.
        named = _index(lake, RAW_OF[table.name]).select("key", "order_id").unique()
        of_here = named.join(here, on="order_id", how="semi").select("key")
        counted = named.join(of_here, on="key", how="semi").join(orders, on="order_id", how="inner")
    else:
        counted = orders.join(here, on="order_id", how="semi").with_columns(key="order_id")
    counted = counted.select("key", "order_date").unique()
    found = keep(counted.filter(places.count().over("key") > 1))
    return found.select(nw.col("key").alias(key)).unique(), sorted(set(_column(found, "order_date")))
