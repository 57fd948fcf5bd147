"""Find the order dates whose rows may change because of the versions captured since the last look.

The caller keeps the table versions of its last look, and the dates are computed from these and the stored tables.
Captures hand nothing over, so a crash loses nothing. Tables by order date depend on raw through the order. They also
depend on the versions of customers and products that are valid when the order is placed.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import narwhals as nw
import polars as pl
from deltalake import DeltaTable

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import dates_changed_since, find
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.base import Entity
from orders_lakehouse.entities.registry import ENTITIES
from orders_lakehouse.pipeline.row_accounting import balance
from orders_lakehouse.tables import DATED, KEY_DATES, ROOTS
from orders_lakehouse.transforms.versions import valid_intervals

log = logging.getLogger(__name__)

# For each dimension, the entities whose rows name its members, and the columns that name them.
NAMED_BY: Mapping[Entity, Sequence[tuple[Entity, str]]] = {
    members: tuple(
        (entity, column) for entity in ENTITIES for column, named in entity.names.items() if named is members
    )
    for members in dict.fromkeys(named for entity in ENTITIES for named in entity.names.values())
}
WATCHED = (*(entity.raw for entity in DATED), *(members.cleansed for members in NAMED_BY))


def versions_now(lake: Lake) -> dict[str, list[Any]]:
    """Return id and version of each watched table, by path. A table that is created again gets another id.

    The result also records, for each dimension, the attributes that distinguish its members.
    """
    handles = {table.path: find(lake, table) for table in WATCHED}
    versions = {path: [_id(handle), handle.version()] for path, handle in handles.items() if handle is not None}
    return {**versions, **{_attributes_name(members): ["attributes", list(members.attributes)] for members in NAMED_BY}}


def affected_dates(lake: Lake, since: Mapping[str, Any], calendar: Calendar) -> list[date]:
    """Return the order dates whose derived rows may change because of changes since some table versions.

    Args:
        lake: The lake.
        since: Earlier result of `versions_now`; older cursors may lack ids or attributes. All rows of a table count as
            new if the result lacks the table, the table was created again, or its version is gone. If other attributes
            distinguished the members of a dimension then, all its members are compared, because their keys differed.
        calendar: The first partition, and the instant at which each date begins.

    Returns:
        Dates of three kinds, in order: those at which changed orders count or ever counted; those at which lines and
        payments wait or waited for such orders; those of orders that name a changed customer or product while the
        change is valid.
    """
    dates: set[date] = set()
    changes = {
        entity: named_by(entity, pl.concat(_changes(lake, entity.raw, since.get(entity.raw.path)))) for entity in DATED
    }
    if any(rows.height for rows in changes.values()):
        dates.update(dates_of_orders(lake, changes))
    for members, naming in NAMED_BY.items():
        table, key = members.cleansed, members.key[0]
        appeared, gone = _changes(lake, table, since.get(table.path))
        # Cursors without attributes come from a time when each version was a member, even if only its clock differed.
        _, attributes = since.get(_attributes_name(members), ("attributes", [*members.attributes, "updated_at"]))
        has_other_attributes = table.path in since and attributes != list(members.attributes)
        if appeared.height or gone.height or has_other_attributes:
            keys = None if has_other_attributes else pl.concat([appeared, gone]).select(key).unique().drop_nulls()
            versions = _plan(lake.scan(table)).select(table.columns)
            now = _rows(versions if keys is None else versions.join(keys.lazy(), on=key, how="semi"))
            before = pl.concat([_without(now.lazy(), appeared.lazy()), gone.lazy()]).collect()
            known_by = [name for name in attributes if name in table.columns]
            spans = affected_spans(before, now, members, calendar, known_by)
            # The run of its capture date brings a member that no order names yet into the dimension.
            dates.update(pl.concat([appeared, gone]).join(spans, on=key, how="semi")["captured_on"])
            dates.update(*(_dates_that_name(lake, entity, column, spans, key) for entity, column in naming))
    return sorted(dates)


def unaccounted_dates(lake: Lake, tables: Iterable[Table], calendar: Calendar, last: date) -> list[date]:
    """Return the dates at which raw has versions that a cleansed table does not account for."""
    dates: set[date] = set()
    for table in tables:
        by_date = balance(lake, table, calendar.start, last, calendar)
        dates.update(by_date.filter(pl.col("captured") != pl.col("accounted"))["date"])
    return sorted(dates)


def _changes(lake: Lake, table: Table, known: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that a table has gained and those that it has lost since a known version, with its columns."""
    handle, none = find(lake, table), pl.DataFrame(schema=table.schema)
    if handle is None:
        return none, none
    table_id, version = known if isinstance(known, list) else (_id(handle), known)
    if table_id != _id(handle):
        version = None
    elif handle.version() == version:
        return none, none
    dates = None if version is None else dates_changed_since(lake, handle, table, version)
    if dates is None:
        return rows_of(lake.scan(table).select(table.columns)), none
    before = lake.find(table, version)
    now, then = (_plan(lake.scan_at(opened, table, dates).select(table.columns)) for opened in (handle, before))
    try:
        return _rows(_without(now, then)), _rows(_without(then, now))
    except (FileNotFoundError, LakeError) as error:
        # Somebody else vacuumed the old files. If a current file is missing, reading all rows below raises again.
        log.warning("version %s of %s cannot be read, all its rows count as new: %s", version, table.path, error)
        return rows_of(lake.scan(table).select(table.columns)), none


def _without(rows: pl.LazyFrame, others: pl.LazyFrame) -> pl.LazyFrame:
    """Return the rows that are not among other rows with the same columns."""
    return rows.join(others, on=others.collect_schema().names(), how="anti", nulls_equal=True)


def _attributes_name(members: Entity) -> str:
    """Return the name under which `versions_now` records the attributes of a dimension."""
    return f"{members.cleansed.path} by"


def _id(handle: DeltaTable) -> str:
    return str(handle.metadata().id)


def named_by(entity: Entity, rows: pl.DataFrame) -> pl.DataFrame:
    """Return the keys by which versions of an entity are found: order_id, key, captured_on."""
    return rows.select("captured_on", order_id=str(entity.parent_key), key=str(entity.history_key))


def dates_of_orders(lake: Lake, changes: Mapping[Entity, pl.DataFrame]) -> set[date]:
    """Return order dates affected by versions of orders, and of rows that belong to orders.

    Args:
        lake: The lake.
        changes: Changed versions of each entity that counts by business date: order_id, key, captured_on.
    """
    return {day for root in ROOTS for day in _dates_of_root(lake, root, changes)}


def _dates_of_root(lake: Lake, root: Entity, changes: Mapping[Entity, pl.DataFrame]) -> set[date]:
    index = _plan(lake.scan(KEY_DATES))
    named = [changes[root].select("order_id")]
    children = [entity for entity in DATED if entity.parent is root]
    for entity in children:
        named.append(changes[entity].select("order_id"))
        if entity.history_key != entity.parent_key:
            # A row with a key of its own may have named another order before.
            keys = changes[entity].select("key").unique()
            of_keys = index.filter(pl.col("table_name") == entity.name)
            named.append(_rows(of_keys.join(keys.lazy(), on="key", how="semi", nulls_equal=True).select("order_id")))
    orders = pl.concat(named).unique()
    known = _rows(
        index.filter(pl.col("table_name") == root.name)
        .join(orders.lazy(), on="order_id", how="semi", nulls_equal=True)
        .select("order_id", "order_date")
        .unique()
    )
    dates = set(known["order_date"].drop_nulls())
    for entity in children:
        without_order = changes[entity].join(known, on="order_id", how="anti", nulls_equal=True)
        dates.update(without_order["captured_on"])
        # Rows wait for their order in quarantine or, when they are deleted themselves, as tombstones.
        places = (lake.scan(entity.quarantine), lake.scan(entity.cleansed).filter(nw.col("is_deleted")))
        for place in places:
            waiting = _plan(place.select(nw.col(str(entity.parent_key)).alias("order_id"), "order_date"))
            dates.update(_rows(waiting.join(orders.lazy(), on="order_id", how="semi", nulls_equal=True))["order_date"])
    return dates


def dates_of_members(lake: Lake, members: Entity, changed: pl.DataFrame, calendar: Calendar) -> set[date]:
    """Return the order dates that changed versions of a dimension's members may affect, ignoring later versions.

    Args:
        lake: The lake.
        members: The entity of the versions.
        changed: The key, updated_at and captured_on of the versions that appeared or disappeared.
        calendar: The instant at which each date begins.
    """
    key, at = members.key[0], pl.col("updated_at")
    earliest = changed.group_by(key).agg(at.min())
    known = _plan(lake.scan(members.cleansed)).select(key, at.alias("known_at"))
    # The first version of a member is valid from the beginning of time.
    earlier = _rows(known.join(earliest.lazy(), on=key).filter(pl.col("known_at") < at).select(key).unique())
    has_earlier = pl.col(key).is_in(earlier[key].implode())
    spans = earliest.with_columns(first=calendar.dates_of(earliest["updated_at"]), last=pl.lit(None, pl.Date))
    spans = spans.with_columns(first=pl.when(has_earlier).then("first")).select(key, "first", "last")
    named = (_dates_that_name(lake, entity, column, spans, key) for entity, column in NAMED_BY[members])
    return set(changed["captured_on"]).union(*named)


def _dates_that_name(lake: Lake, naming: Entity, column: str, spans: pl.DataFrame, key: str) -> set[date]:
    """Return the dates at which rows of an entity name a member in a column, within the spans of that member."""
    names = _plan(lake.scan(naming.cleansed)).select("order_date", pl.col(column).alias(key))
    rows = names.join(spans.lazy().select(key).unique(), on=key, how="semi")
    named = (
        _rows(rows.unique())
        .join(spans, on=key)
        .filter(
            pl.col("order_date") >= pl.col("first").fill_null(date.min),
            pl.col("order_date") <= pl.col("last").fill_null(date.max),
        )
    )
    return set(named["order_date"])


def affected_spans(
    before: pl.DataFrame,
    now: pl.DataFrame,
    members: Entity,
    calendar: Calendar,
    attributes: Sequence[str] | None = None,
) -> pl.DataFrame:
    """Return the dates whose orders refer to another member of a dimension than before, or to a changed one.

    On these dates a member is valid that exists only before the change or only after it. Members are compared by key,
    beginning and attributes. A version that appears or disappears between two others may join or split members.

    Args:
        before: Earlier versions of some keys, with the columns of the members' cleansed table.
        now: Current versions of the same keys, with the same columns.
        members: The entity of the members.
        calendar: The instant at which each date begins.
        attributes: Attributes that distinguished members before; by default, the current attributes.

    Returns:
        key, first (null: from the beginning of time), last (null: without end).
    """
    key = members.key[0]
    known_by = members.attributes if attributes is None else attributes
    sides: list[pl.DataFrame] = [
        nw.to_native(valid_intervals(nw.from_native(versions.lazy()), key, names)).collect()
        for versions, names in ((before, known_by), (now, members.attributes))
    ]
    identity = [key, "valid_from", *members.attributes]
    differing: pl.DataFrame = pl.concat(
        side.join(opposite, on=identity, how="anti", nulls_equal=True) for side, opposite in (sides, reversed(sides))
    )
    dates = {name: calendar.dates_of(differing[at]) for name, at in (("first", "valid_from"), ("last", "valid_to"))}
    return differing.select(key, **dates)


def _plan(frame: Frame) -> pl.LazyFrame:
    """Return a frame as a Polars plan, because Polars' joins can match nulls: rows may have no key."""
    plan: pl.LazyFrame = nw.to_native(frame)
    return plan


def _rows(plan: pl.LazyFrame) -> pl.DataFrame:
    return rows_of(nw.from_native(plan))
