"""Use the index `raw/key_dates` to find exactly the versions that a range of business dates needs."""

from collections.abc import Collection, Sequence
from datetime import date
from functools import lru_cache
from threading import Lock

import narwhals as nw
import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.delta.frames import collect, narrow, persist, rows_of
from orders_lakehouse.delta.table_files import state_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.base import ByOwnDate, Entity
from orders_lakehouse.entities.children import UNKNOWN
from orders_lakehouse.tables import DATED, KEY_DATES, entity_of
from orders_lakehouse.transforms.versions import current_versions


def key_dates_of(table: Table, rows: pl.DataFrame, calendar: Calendar) -> pl.DataFrame | None:
    """Return the index entries of rows that are about to be captured.

    Args:
        table: Raw table of the rows.
        rows: Columns of that table.
        calendar: The first partition, and the instant at which each date begins.

    Returns:
        Distinct rows of `raw/key_dates`; None for a table that is not indexed.
    """
    entity = entity_of(table)
    if entity.history_key is None:
        return None
    frame = nw.from_native(rows.lazy())
    if isinstance(entity.dating, ByOwnDate):
        frame = entity.dating.dated(frame, calendar)
    else:
        frame = frame.with_columns(order_date=nw.lit(None).cast(nw.Date))
    entries = frame.select(
        nw.lit(table.name).alias("table_name"),
        nw.col(entity.history_key).alias("key"),
        nw.col(str(entity.parent_key)).alias("order_id"),
        "captured_on",
        "order_date",
    )
    return rows_of(entries.unique())


def record_key_dates(lake: Lake, table: Table, rows: pl.DataFrame, calendar: Calendar) -> int:
    """Write the index entries of rows that are about to be captured; return the number of new entries."""
    entries = key_dates_of(table, rows, calendar)
    if entries is None:
        return 0
    captured: list[date] = entries["captured_on"].unique().to_list()
    known = lake.scan(KEY_DATES).filter(nw.col("table_name") == table.name, nw.col("captured_on").is_in(captured))
    new = entries.join(rows_of(known), on=list(KEY_DATES.key), how="anti", nulls_equal=True)
    lake.append(KEY_DATES, new.sort("captured_on", "order_date", "key"))
    return new.height


def rebuild_key_dates(lake: Lake, calendar: Calendar) -> int:
    """Write the index entries that are missing for versions in raw. Entries without a version are harmless and stay.

    Returns:
        The number of new entries.
    """
    return sum(record_key_dates(lake, entity.raw, rows_of(lake.scan(entity.raw)), calendar) for entity in DATED)


class VersionLocator:
    """Find the capture dates that hold the versions for a range of business dates.

    The index is read once for all dates, and read again only after it or one of the raw tables has changed.
    """

    def __init__(self, entity: Entity, first: date, last: date) -> None:
        """Locate the versions for a range of dates; the entity counts by business date."""
        self.entity = entity
        self._root = root_of(entity)
        self._between = (nw.lit(first), nw.lit(last))
        self._lock = Lock()
        self._cached: tuple[Sequence[tuple[str, int]], pl.DataFrame, pl.DataFrame] | None = None

    def of_orders(self, lake: Lake, first: date, last: date) -> set[date]:
        """Return the capture dates of all versions of the rows that ever named an order of the given business dates."""
        return set(self._dates(lake)[0].filter(pl.col("order_date").is_between(first, last))["captured_on"])

    def of_named(self, lake: Lake, first: date, last: date) -> set[date]:
        """Return the capture dates of all versions of the orders that are named by rows captured on the given dates."""
        return set(self._dates(lake)[1].filter(pl.col("captured_on").is_between(first, last))["placed_on"])

    def _dates(self, lake: Lake) -> tuple[pl.DataFrame, pl.DataFrame]:
        # Raw is opened before the index: an index older than raw would lack entries for the newest versions.
        versions = [state_of(lake.open(table)) for table in (self.entity.raw, self._root.raw, KEY_DATES)]
        with self._lock:
            if self._cached is None or self._cached[0] != versions:
                self._cached = (versions, *self._read_index(lake))
            return self._cached[1:]

    def _read_index(self, lake: Lake) -> tuple[pl.DataFrame, pl.DataFrame]:
        # Few rows of the history are needed, so they are joined first and made unique afterwards.
        orders = _index(lake, self._root.raw).select("order_id", "order_date", placed_on="captured_on")
        of_range = orders.filter(nw.col("order_date").is_between(*self._between)).select("order_id", "order_date")
        of_range = persist(of_range.unique())
        if self.entity is self._root:
            versions = narrow(orders, of_range, "order_id").join(of_range, on="order_id", suffix="_of_range")
            dates = versions.select(order_date="order_date_of_range", captured_on="placed_on")
            return rows_of(dates.unique()), pl.DataFrame()
        entries = _index(lake, self.entity.raw).select("key", "order_id", "captured_on")
        held = narrow(entries, of_range, "order_id").join(of_range, on="order_id")
        if self.entity.history_key != self.entity.parent_key:
            # A row is found by its key, because its versions may name different orders.
            keys = persist(held.select("key", "order_date").unique())
            held = narrow(entries, keys, "key").select("key", "captured_on").join(keys, on="key")
        of_dates = entries.filter(nw.col("captured_on").is_between(*self._between))
        named = of_dates.select("order_id", "captured_on").unique()
        named = named.join(narrow(orders, of_dates, "order_id"), on="order_id")
        held_dates, named_dates = collect(
            held.select("order_date", "captured_on").unique(), named.select("captured_on", "placed_on").unique()
        )
        return held_dates, named_dates


@lru_cache(maxsize=8)
def locator_of(table: Table, first: date, last: date) -> VersionLocator | None:
    """Return the locator of versions for dates of a cleansed table; None for a table that counts by capture date.

    The locator is cached, because the check of a run needs the same versions as the run.
    """
    entity = entity_of(table)
    return None if entity.is_dimension else VersionLocator(entity, first, last)


def root_of(entity: Entity) -> Entity:
    """Return the entity whose dates decide where rows of an entity count: its parent, or itself."""
    return entity.parent or entity


def versions_by_date(
    lake: Lake, entity: Entity, first: date, last: date, locator: VersionLocator | None = None
) -> tuple[Frame, Frame | None]:
    """Return the versions from which an entity's rows at the given dates are derived.

    Args:
        lake: The lake.
        entity: The entity.
        first: First date.
        last: Last date.
        locator: Locator for a range that includes these dates; by default, a new one.

    Returns:
        First, rows of the raw table. For an entity that counts by capture date, these are the rows captured on the
        dates. For an entity with dates of its own, they are all versions of the rows that ever counted at one of the
        dates. For children see `children_of_dates`. Second, the states of the parents; None for an entity without one.
    """
    if entity.is_dimension:
        return lake.scan(entity.raw, between=(first, last)), None
    if entity.parent:
        return children_of_dates(lake, entity, first, last, locator)
    dates = (locator or VersionLocator(entity, first, last)).of_orders(lake, first, last)
    keys = _index(lake, entity.raw).filter(nw.col("order_date").is_between(nw.lit(first), nw.lit(last)))
    rows = lake.scan(entity.raw, dates=sorted(dates))
    return rows.join(keys.select("order_id").unique(), left_on=entity.key[0], right_on="order_id", how="semi"), None


def children_of_dates(
    lake: Lake, entity: Entity, first: date, last: date, locator: VersionLocator | None = None
) -> tuple[Frame, Frame]:
    """Return the versions from which the children at the given dates are derived.

    Args:
        lake: The lake.
        entity: An entity with a parent.
        first: First business date.
        last: Last business date.
        locator: Locator for a range that includes these dates; by default, a new one.

    Returns:
        First, all versions of two kinds of rows: those that ever named an order of the dates, and those that were
        captured on the dates and name an unknown order. Second, the states of these orders: key, order_date,
        order_state, and the columns that children inherit.
    """
    locator = locator or VersionLocator(entity, first, last)
    dates = locator.of_orders(lake, first, last)
    key, parent_key = entity.history_key, str(entity.parent_key)
    states, orphans = _states(lake, entity, first, last, locator)
    if key == parent_key:
        keys = states.select(nw.col(parent_key).alias("key"))
    else:
        named = lake.scan(entity.raw, dates=sorted(dates)).join(states.select(parent_key), on=parent_key, how="semi")
        keys = nw.concat([named.select(nw.col(str(key)).alias("key")), orphans.select("key")])
    if not _is_empty(orphans):
        dates |= set(_captured(lake, entity, orphans))
    rows = lake.scan(entity.raw, dates=sorted(dates))
    return rows.join(persist(keys.unique()), left_on=key, right_on="key", how="semi"), states


def count_by_date(lake: Lake, entity: Entity, first: date, last: date, locator: VersionLocator | None = None) -> Frame:
    """Count the versions of children by business date, for an entity whose key contains its parent's key.

    Args:
        lake: The lake.
        entity: An entity whose rows are found by their parent's key.
        first: First business date.
        last: Last business date.
        locator: Locator for a range that includes these dates; by default, a new one.

    Returns:
        order_date, versions; one row or more for each date.
    """
    locator = locator or VersionLocator(entity, first, last)
    parent_key = str(entity.parent_key)
    # The parent is part of the key, so all versions of a row with a known parent count at the parent's date.
    rows = lake.scan(entity.raw, dates=sorted(locator.of_orders(lake, first, last)))
    known = rows.select(parent_key).join(_known_states(lake, entity, first, last), on=parent_key)
    of_known = known.group_by("order_date").agg(versions=nw.len().cast(nw.Int64))
    orphans = persist(_without_parent(lake, entity, first, last, locator))
    if _is_empty(orphans):
        return of_known
    current = current_versions(_versions(lake, entity, orphans.select("key").unique()), entity.key)
    of_unknown = current.filter(nw.col("captured_on").is_between(nw.lit(first), nw.lit(last)))
    return nw.concat([of_known, of_unknown.select(nw.col("captured_on").alias("order_date"), "versions")])


def _states(lake: Lake, entity: Entity, first: date, last: date, locator: VersionLocator) -> tuple[Frame, Frame]:
    """Return the states of the parents at the given dates, and of the unknown parents of rows captured on them.

    Returns:
        First, the columns of the parent's `states`; an unknown parent has only its key and `order_state`. Second, key
        and parent's key of the rows whose parent is unknown.
    """
    orphans = persist(_without_parent(lake, entity, first, last, locator))
    known = _known_states(lake, entity, first, last)
    nulls = {name: nw.lit(None).cast(dtype) for name, dtype in known.collect_schema().items()}
    unknown = (
        orphans.select(str(entity.parent_key))
        .unique()
        .with_columns(
            **{name: null for name, null in nulls.items() if name != entity.parent_key}
            | {"order_state": nw.lit(UNKNOWN)}
        )
    )
    return persist(nw.concat([known, unknown.select(list(nulls))])), orphans


def _known_states(lake: Lake, entity: Entity, first: date, last: date) -> Frame:
    root = root_of(entity)
    assert isinstance(root.dating, ByOwnDate)  # noqa: S101 (every parent has a date of its own)
    cleansed, quarantined = (lake.scan(table, between=(first, last)) for table in (root.cleansed, root.quarantine))
    return root.dating.states(cleansed, quarantined)


def _is_empty(frame: Frame) -> bool:
    return rows_of(frame.head(1)).is_empty()


def versions_of_row(lake: Lake, table: Table, key: Sequence[str]) -> pl.DataFrame:
    """Return all versions of a row.

    Args:
        lake: The lake.
        table: Its raw table.
        key: Values of the table's key, as text.

    Returns:
        Columns of the table, the oldest capture first.
    """
    entity = entity_of(table)
    if entity.history_key is None:
        rows = lake.scan(table)
    else:
        rows = _versions(lake, entity, nw.from_native(pl.LazyFrame({"key": [key[0]]})))
    is_row = [nw.col(name).cast(nw.String) == value for name, value in zip(table.key, key, strict=True)]
    return rows_of(rows.filter(*is_row)).sort("captured_at", "updated_at")


def dates_of_keys(lake: Lake, table: Table, keys: Sequence[str]) -> list[date]:
    """Return the dates at which rows count or ever counted, according to their captured versions.

    Args:
        lake: The lake.
        table: Their cleansed table.
        keys: The first part of their keys.

    Returns:
        The dates in order. Members of dimensions, and rows without a known order, count at their capture dates.
    """
    entity = entity_of(table)
    if entity.history_key is None:
        rows = lake.scan(entity.raw).filter(nw.col(table.key[0]).is_in(keys)).select("captured_on")
        return sorted(rows_of(rows.unique())["captured_on"])
    entries = persist(_index(lake, entity.raw).filter(nw.col("key").is_in(keys)).unique())
    orders = _index(lake, root_of(entity).raw).select("order_id", placed="order_date")
    dated = entries.join(orders, on="order_id", how="left")
    counts_at = nw.when(nw.col("placed").is_null()).then(nw.col("captured_on")).otherwise(nw.col("placed"))
    return sorted(rows_of(dated.select(date=counts_at).unique())["date"])


def _without_parent(lake: Lake, entity: Entity, first: date, last: date, locator: VersionLocator) -> Frame:
    """Return the rows captured on the given dates whose parent was never captured: distinct key and parent's key.

    Raw decides this, not the index, because the index may be ahead of raw.
    """
    key, parent_key = str(entity.history_key), str(entity.parent_key)
    rows = lake.scan(entity.raw, between=(first, last))
    if key == parent_key:
        named = rows.select(parent_key).unique().with_columns(key=parent_key)
    else:
        named = rows.select(nw.col(key).alias("key"), parent_key).unique()
    parents = lake.scan(root_of(entity).raw, dates=sorted(locator.of_named(lake, first, last)))
    return named.join(parents.select(parent_key).unique(), on=parent_key, how="anti")


def _index(lake: Lake, table: Table) -> Frame:
    # Captures write the index before raw. So a snapshot must open raw before the index; otherwise the snapshot could
    # have versions without entries.
    lake.open(table)
    return lake.scan(KEY_DATES).filter(nw.col("table_name") == table.name)


def _versions(lake: Lake, entity: Entity, keys: Frame) -> Frame:
    """Return all raw rows of an entity with one of the keys, read from the capture dates that hold them."""
    keys = persist(keys)
    rows = lake.scan(entity.raw, dates=_captured(lake, entity, keys))
    return rows.join(keys, left_on=entity.history_key, right_on="key", how="semi")


def _captured(lake: Lake, entity: Entity, keys: Frame) -> Sequence[date]:
    """Return the capture dates of the versions of some keys."""
    entries = narrow(_index(lake, entity.raw), keys, "key").join(keys, on="key", how="semi")
    return _column(entries.select("captured_on").unique(), "captured_on")


def _column(frame: Frame, name: str) -> Sequence[date]:
    values: list[date] = rows_of(frame)[name].to_list()
    return values


def dates_of_moved_rows(lake: Lake, table: Table, dates: Collection[date]) -> tuple[Frame, list[date]]:
    """Return the rows that counted at one of the given dates and, at some time, at another date.

    Only these rows can be stored on two dates.

    Args:
        lake: The lake.
        table: A cleansed table by business date.
        dates: Order dates.

    Returns:
        First, the distinct values of the rows' `history_key`. Second, all dates at which these rows ever counted, in
        order.
    """
    entity = entity_of(table)
    order_date = nw.col("order_date")
    orders = _index(lake, root_of(entity).raw).select("order_id", "order_date")
    orders_of_dates = persist(orders.filter(order_date.is_in(list(dates))).select("order_id").unique())
    if entity.history_key != entity.parent_key:
        # A row with a key of its own moves when its order moves, and when it names another order.
        named = _index(lake, entity.raw).select("key", "order_id")
        keys = narrow(named, orders_of_dates, "order_id").join(orders_of_dates, on="order_id", how="semi")
        keys = persist(keys.select("key").unique())
        named = narrow(named, keys, "key").join(keys, on="key", how="semi").unique()
        counted = named.join(narrow(orders, named, "order_id"), on="order_id")
    else:
        counted = narrow(orders, orders_of_dates, "order_id").join(orders_of_dates, on="order_id", how="semi")
        counted = counted.with_columns(key="order_id")
    edges = counted.group_by("key").agg(first=order_date.min(), last=order_date.max())
    moved = persist(edges.filter(nw.col("first") != nw.col("last")).select("key"))
    dates_of_moved = counted.join(moved, on="key", how="semi").select("order_date").unique()
    return moved.select(nw.col("key").alias(str(entity.history_key))), sorted(_column(dates_of_moved, "order_date"))
