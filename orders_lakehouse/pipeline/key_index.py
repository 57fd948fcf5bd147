"""All versions that a range of business dates needs, found by the index `raw/key_dates`, and no others."""

from collections.abc import Collection, Sequence
from datetime import date
from functools import lru_cache
from threading import Lock

import narwhals as nw
import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.cleansed import UNKNOWN
from orders_lakehouse.contracts.tables import (
    KEY_DATES,
    ORDER_ITEMS,
    ORDERS,
    QUARANTINE_OF,
    RAW_OF,
    RAW_ORDER_ITEMS,
    RAW_ORDERS,
    Table,
)
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.delta.tables import Lake, collect, is_on_cluster, keep, rows_of, state_of
from orders_lakehouse.transforms.orders import order_states, with_order_date
from orders_lakehouse.transforms.versions import current_versions

# By which a row's history is found: all versions of an order's lines share its order_id, but a payment may name another
# order from one version to the next.
_KEY = {"orders": "order_id", "order_items": "order_id", "payments": "payment_id"}


def key_dates_of(table: Table, rows: pl.DataFrame, calendar: Calendar) -> pl.DataFrame | None:
    """Index entries of rows that are about to be captured.

    Args:
        table: Raw table of the rows.
        rows: Columns of that table.
        calendar: First partition, and when dates begin.

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


def key_of_history(table: Table) -> str | None:
    """The column of a raw table by which the index holds its rows; None for a table that it does not hold."""
    return _KEY.get(table.name)


class Places:
    """On which capture dates the versions lie that a range of business dates is made of.

    Looked up in the index once for all dates, and again when a table has changed since.
    """

    def __init__(self, table: Table, first: date, last: date) -> None:
        """Of a raw table that the index holds, from a first to a last business date."""
        self.table = table
        self._between = (nw.lit(first), nw.lit(last))
        self._lock = Lock()
        self._known: tuple[Sequence[tuple[str, int]], pl.DataFrame, pl.DataFrame] | None = None

    def of_orders(self, lake: Lake, first: date, last: date) -> set[date]:
        """Capture dates of all versions of the rows that ever named an order of some of the business dates."""
        return set(self._looked_up(lake)[0].filter(pl.col("order_date").is_between(first, last))["captured_on"])

    def of_named(self, lake: Lake, first: date, last: date) -> set[date]:
        """Capture dates of all versions of the orders that are named by rows which were captured on some dates."""
        return set(self._looked_up(lake)[1].filter(pl.col("captured_on").is_between(first, last))["placed_on"])

    def _looked_up(self, lake: Lake) -> tuple[pl.DataFrame, pl.DataFrame]:
        # In this order: an index that is older than raw would lack its versions.
        versions = [state_of(lake.open(table)) for table in (self.table, RAW_ORDERS, KEY_DATES)]
        with self._lock:
            if self._known is None or self._known[0] != versions:
                self._known = (versions, *self._look_up(lake))
            return self._known[1:]

    def _look_up(self, lake: Lake) -> tuple[pl.DataFrame, pl.DataFrame]:
        # Of the whole history some rows are wanted: they are joined first, and made unique afterwards.
        orders = _index(lake, RAW_ORDERS).select("order_id", "order_date", placed_on="captured_on")
        of_range = orders.filter(nw.col("order_date").is_between(*self._between)).select("order_id", "order_date")
        of_range = keep(of_range.unique())
        if self.table is RAW_ORDERS:
            versions = _near(orders, of_range, "order_id").join(of_range, on="order_id", suffix="_of_range")
            places = versions.select(order_date="order_date_of_range", captured_on="placed_on")
            return rows_of(places.unique()), pl.DataFrame()
        entries = _index(lake, self.table).select("key", "order_id", "captured_on")
        held = _near(entries, of_range, "order_id").join(of_range, on="order_id")
        if _KEY[self.table.name] != "order_id":
            # A row is found by its key: it may name another order from one version to the next.
            keys = keep(held.select("key", "order_date").unique())
            held = _near(entries, keys, "key").select("key", "captured_on").join(keys, on="key")
        of_dates = entries.filter(nw.col("captured_on").is_between(*self._between))
        named = of_dates.select("order_id", "captured_on").unique()
        named = named.join(_near(orders, of_dates, "order_id"), on="order_id")
        found = collect(
            held.select("order_date", "captured_on").unique(), named.select("captured_on", "placed_on").unique()
        )
        return found[0], found[1]


@lru_cache(maxsize=8)
def places_of(table: Table, first: date, last: date) -> Places | None:
    """Where the versions lie that dates of a cleansed table are made of; None for one that counts by capture date.

    Kept, because the check of a run asks for what its dates were derived from.
    """
    return Places(RAW_OF[table.name], first, last) if table.name in _KEY else None


def versions_of_orders(lake: Lake, first: date, last: date, places: Places | None = None) -> Frame:
    """All versions of the orders that ever counted at a date from `first` to `last`: rows of `raw/orders`.

    Args:
        lake: The lake.
        first: First business date.
        last: Last business date.
        places: Where versions lie, when that is known for more dates than these.
    """
    places = places or Places(RAW_ORDERS, first, last)
    dates = places.of_orders(lake, first, last)
    keys = _index(lake, RAW_ORDERS).filter(nw.col("order_date").is_between(nw.lit(first), nw.lit(last)))
    return lake.scan(RAW_ORDERS, dates=sorted(dates)).join(keys.select("order_id").unique(), on="order_id", how="semi")


def children_of_orders(
    lake: Lake, table: Table, first: date, last: date, places: Places | None = None
) -> tuple[Frame, Frame]:
    """What the lines or payments of a range of dates are derived from.

    Args:
        lake: The lake.
        table: `raw/order_items` or `raw/payments`.
        first: First business date.
        last: Last business date.
        places: Where versions lie, when that is known for more dates than these.

    Returns:
        All versions of the rows that name, or ever named, an order of the dates, or that were captured within them and
        name an order that is not known; and the states of those orders (order_id, order_date, order_state,
        order_currency).
    """
    places = places or Places(table, first, last)
    dates = places.of_orders(lake, first, last)
    key = _KEY[table.name]
    states, orphans = _states(lake, table, first, last, places)
    if table is RAW_ORDER_ITEMS:
        keys = states.select(nw.col("order_id").alias("key"))
    else:
        named = lake.scan(table, dates=sorted(dates)).join(states.select("order_id"), on="order_id", how="semi")
        keys = nw.concat([named.select(nw.col(key).alias("key")), orphans.select("key")])
    if not _is_empty(orphans):
        dates |= set(_captured(lake, table, orphans))
    rows = lake.scan(table, dates=sorted(dates)).join(keep(keys.unique()), left_on=key, right_on="key", how="semi")
    return rows, states


def count_lines(lake: Lake, first: date, last: date, places: Places | None = None) -> Frame:
    """How many versions of order lines count at some business dates.

    Args:
        lake: The lake.
        first: First business date.
        last: Last business date.
        places: Where versions lie, when that is known for more dates than these.

    Returns:
        order_date, versions; one row or more for each date.
    """
    places = places or Places(RAW_ORDER_ITEMS, first, last)
    # The order is a part of a line's key: where it is known, all versions of the line count at its date.
    lines = lake.scan(RAW_ORDER_ITEMS, dates=sorted(places.of_orders(lake, first, last)))
    known = lines.select("order_id").join(_known_states(lake, first, last), on="order_id")
    of_known = known.group_by("order_date").agg(versions=nw.len().cast(nw.Int64))
    orphans = keep(_without_order(lake, RAW_ORDER_ITEMS, first, last, places))
    if _is_empty(orphans):
        return of_known
    current = current_versions(_versions(lake, RAW_ORDER_ITEMS, orphans.select("key").unique()), ORDER_ITEMS.key)
    of_unknown = current.filter(nw.col("captured_on").is_between(nw.lit(first), nw.lit(last)))
    return nw.concat([of_known, of_unknown.select(nw.col("captured_on").alias("order_date"), "versions")])


def _states(lake: Lake, table: Table, first: date, last: date, places: Places) -> tuple[Frame, Frame]:
    """What became of the orders of some dates, and of those without a trace that rows captured then name.

    Returns:
        order_id, order_date, order_state, order_currency of each order (no date and no currency where it is not known);
        and key, order_id of the rows whose order is not known.
    """
    orphans = keep(_without_order(lake, table, first, last, places))
    unknown = orphans.select("order_id", nw.lit(None).cast(nw.Date).alias("order_date")).unique()
    known = _known_states(lake, first, last)
    of_unknown = unknown.with_columns(order_state=nw.lit(UNKNOWN), order_currency=nw.lit(None).cast(nw.String))
    return keep(nw.concat([known, of_unknown])), orphans


def _known_states(lake: Lake, first: date, last: date) -> Frame:
    return order_states(
        lake.scan(ORDERS, between=(first, last)), lake.scan(QUARANTINE_OF["orders"], between=(first, last))
    )


def _is_empty(frame: Frame) -> bool:
    return rows_of(frame.head(1)).is_empty()


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


def _without_order(lake: Lake, table: Table, first: date, last: date, places: Places) -> Frame:
    """Rows captured on some dates whose order has never been captured: key, order_id, each once.

    The index alone does not tell: it may be ahead of raw.
    """
    rows = lake.scan(table, between=(first, last))
    if _KEY[table.name] == "order_id":
        named = rows.select("order_id").unique().with_columns(key="order_id")
    else:
        named = rows.select(nw.col(_KEY[table.name]).alias("key"), "order_id").unique()
    known = lake.scan(RAW_ORDERS, dates=sorted(places.of_named(lake, first, last))).select("order_id").unique()
    return named.join(known, on="order_id", how="anti")


def _index(lake: Lake, table: Table) -> Frame:
    # Captures write the index before raw. Where a lake stands still, raw must not be the newer of the two: its versions
    # would be there, and no entry that finds them.
    lake.open(table)
    return lake.scan(KEY_DATES).filter(nw.col("table_name") == table.name)


def _near(entries: Frame, keys: Frame, column: str) -> Frame:
    """The entries between the least and the greatest of some keys, which are looked up for it.

    The keys of most shops grow with time, as the index does: of a few dates' keys, most of it need not be read.
    """
    if is_on_cluster(keys):
        return entries
    least, greatest = rows_of(keys.select(nw.col(column).min().alias("least"), nw.col(column).max())).row(0)
    if least is None:
        return entries.head(0)
    return entries.filter(nw.col(column).is_between(nw.lit(least), nw.lit(greatest)))


def _versions(lake: Lake, table: Table, keys: Frame) -> Frame:
    """All rows of a raw table with one of the keys, read from the capture dates that hold them."""
    keys = keep(keys)
    rows = lake.scan(table, dates=_captured(lake, table, keys))
    return rows.join(keys, left_on=_KEY[table.name], right_on="key", how="semi")


def _captured(lake: Lake, table: Table, keys: Frame) -> Sequence[date]:
    """Capture dates of the versions of some keys."""
    entries = _near(_index(lake, table), keys, "key").join(keys, on="key", how="semi")
    return _column(entries.select("captured_on").unique(), "captured_on")


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
    orders = _index(lake, RAW_ORDERS).select("order_id", "order_date")
    here = keep(orders.filter(places.is_in(list(dates))).select("order_id").unique())
    if table.name == "payments":
        # A payment moves with its order, and when it names another one.
        named = _index(lake, RAW_OF[table.name]).select("key", "order_id")
        of_here = _near(named, here, "order_id").join(here, on="order_id", how="semi")
        of_here = keep(of_here.select("key").unique())
        named = _near(named, of_here, "key").join(of_here, on="key", how="semi").unique()
        counted = named.join(_near(orders, named, "order_id"), on="order_id")
    else:
        counted = _near(orders, here, "order_id").join(here, on="order_id", how="semi").with_columns(key="order_id")
    edges = counted.group_by("key").agg(first=places.min(), last=places.max())
    moved = keep(edges.filter(nw.col("first") != nw.col("last")).select("key"))
    found = counted.join(moved, on="key", how="semi").select("order_date").unique()
    return moved.select(nw.col("key").alias(key)), sorted(_column(found, "order_date"))
