"""Account for the rows of a table: captured versions = current + superseded + deleted + quarantined."""

from dataclasses import astuple, dataclass
from datetime import date

import narwhals as nw
import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.base import ByOwnDate, Entity
from orders_lakehouse.entities.children import with_order
from orders_lakehouse.entities.cleansing import within
from orders_lakehouse.pipeline.key_index import VersionLocator, count_by_date, versions_by_date
from orders_lakehouse.tables import CLEANSED, KEY_DATES, QUARANTINE_OF, RAW_OF, entity_of
from orders_lakehouse.transforms.versions import current_versions, last_versions


@dataclass(frozen=True)
class Accounts:
    """Numbers of captured versions of a table, by where they are now.

    Attributes:
        captured: Rows of raw.
        current: Rows of the cleansed table that are not deleted.
        superseded: Versions that a newer one replaced.
        deleted: Tombstones of the cleansed table.
        quarantined: Rows of the quarantine table.
    """

    captured: int
    current: int
    superseded: int
    deleted: int
    quarantined: int

    def __add__(self, other: "Accounts") -> "Accounts":
        """Add two row accountings."""
        return Accounts(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    @property
    def missing(self) -> int:
        """Number of captured versions that are nowhere; negative when some are counted twice."""
        return self.captured - self.current - self.superseded - self.deleted - self.quarantined


def accounts(lake: Lake, table: Table) -> Accounts:
    """Return the row accounting of a cleansed table over all dates.

    Nothing is missing once every business date has been derived since its rows were last captured.
    """
    accounted = sum(_versions(lake, place) for place in _stored_tables(table))
    return _accounts(lake, table, None, row_count(lake, RAW_OF[table.name]), accounted)


def accounts_of_dates(lake: Lake, table: Table, first: date, last: date, balance: pl.DataFrame) -> Accounts:
    """Return the row accounting of a cleansed table over some dates, from their `balance`."""
    captured, accounted = balance.select(pl.col("captured", "accounted").sum()).row(0)
    return _accounts(lake, table, (first, last), captured, accounted)


def _accounts(lake: Lake, table: Table, dates: tuple[date, date] | None, captured: int, accounted: int) -> Accounts:
    if _is_dimension(table):
        # A dimension keeps every version: the last one of a key is current, the others are superseded.
        columns = (table.key[0], "updated_at", "captured_on", "captured_at", "is_deleted")
        latest = last_versions(lake.scan(table).select(*columns), table.key[0])
        if dates is not None:
            latest = latest.filter(nw.col(str(table.partitioned_by)).is_between(nw.lit(dates[0]), nw.lit(dates[1])))
    else:
        latest = lake.scan(table, between=dates)
    by_deletion = dict(rows_of(latest.group_by("is_deleted").agg(rows=nw.len())).iter_rows())
    current, deleted = by_deletion.get(False, 0), by_deletion.get(True, 0)
    quarantined = row_count(lake, QUARANTINE_OF[table.name], dates)
    return Accounts(
        captured=captured,
        current=current,
        superseded=accounted - current - deleted - quarantined,
        deleted=deleted,
        quarantined=quarantined,
    )


def balance(
    lake: Lake, table: Table, first: date, last: date, calendar: Calendar, locator: VersionLocator | None = None
) -> pl.DataFrame:
    """Return the captured and the accounted versions of a cleansed table by date.

    Args:
        lake: The lake.
        table: A cleansed table.
        first: First partition.
        last: Last partition.
        calendar: First partition of the lake, and when dates begin.
        locator: Locator of versions, if one is known for these dates and more.

    Returns:
        date, captured (versions in raw whose row counts at the date), accounted (versions that rows of the cleansed and
        the quarantine table stand for); one row for each date that has any.
    """
    partition = str(table.partitioned_by)
    raw = _counting(lake, entity_of(table), first, last, calendar, locator)
    stored = nw.concat(
        [lake.scan(place, between=(first, last)).select(partition, "versions") for place in _stored_tables(table)]
    )
    captured = raw.group_by(nw.col(partition).alias("date")).agg(captured=nw.col("versions").sum())
    accounted = stored.group_by(nw.col(partition).alias("date")).agg(accounted=nw.col("versions").sum())
    both = rows_of(captured).join(rows_of(accounted), on="date", how="full", coalesce=True)
    return both.with_columns(pl.col("captured", "accounted").fill_null(0).cast(pl.Int64)).sort("date")


def _counting(
    lake: Lake, entity: Entity, first: date, last: date, calendar: Calendar, locator: VersionLocator | None
) -> Frame:
    """Return raw rows with the date at which they count and the number of their versions, among other columns."""
    if entity.parent and entity.history_key == entity.parent_key:
        return count_by_date(lake, entity, first, last, locator)
    versions, states = versions_by_date(lake, entity, first, last, locator)
    if entity.is_dimension:
        return versions.with_columns(versions=nw.lit(1))
    current = current_versions(versions, entity.key)
    if isinstance(entity.dating, ByOwnDate):
        return within(entity.dating.dated(current, calendar), (first, last))
    assert states is not None  # noqa: S101 (children have those of their parents)
    return with_order(current, states, str(entity.parent_key), first, last)


def missing(lake: Lake, table: Table) -> int:
    """Return what `accounts` calls missing, computed faster: from one column of the table and of its quarantine."""
    accounted = sum(_versions(lake, place) for place in _stored_tables(table))
    return row_count(lake, RAW_OF[table.name]) - accounted


def unaccounted_versions(lake: Lake, table: Table) -> pl.DataFrame:
    """Return versions in raw that neither the cleansed table nor its quarantine accounts for.

    A stored row records for how many versions of its key it stands. The versions captured after these are returned.

    Returns:
        The key, the order's key (where the table has one), captured_on, captured_at; no row when nothing is missing.
    """
    raw = RAW_OF[table.name]
    key = list(table.key)
    named = entity_of(table).parent_key
    columns = list(dict.fromkeys([*key, *([named] if named else []), "captured_on", "captured_at"]))
    # Types differ: a line's number has 64 bits in raw and quarantine, and 32 in the cleansed table.
    stored = [nw.to_native(lake.scan(place).select(*key, "versions")) for place in _stored_tables(table)]
    # Until it is derived, the date that a row has left keeps a copy with an older count; the larger one counts.
    versions = pl.col("versions").sum() if _is_dimension(table) else pl.col("versions").max()
    places: pl.LazyFrame = pl.concat(stored, how="vertical_relaxed")
    accounted = rows_of(nw.from_native(places.group_by(key).agg(accounted=versions)))
    if accounted["accounted"].sum() == row_count(lake, raw):
        return pl.DataFrame(schema={name: raw.schema[name] for name in columns})
    number = pl.col("captured_at").rank("ordinal").over(key)
    return (
        rows_of(lake.scan(raw).select(columns))
        .with_columns(number=number)
        .join(accounted, on=key, how="left", nulls_equal=True)
        .filter(pl.col("number") > pl.col("accounted").fill_null(0))
        .select(columns)
    )


def covers_everything(lake: Lake, table: Table, first: date, last: date) -> bool:
    """Return whether a range includes every date at which raw rows of a cleansed table may count."""
    if _is_dimension(table):
        known = files_of(lake.open(RAW_OF[table.name]), RAW_OF[table.name])["date"]
    else:
        index = rows_of(lake.scan(KEY_DATES).select("captured_on", "order_date").unique())
        captured = files_of(lake.open(RAW_OF[table.name]), RAW_OF[table.name])["date"]
        dates = [index["captured_on"], index["order_date"].drop_nulls(), captured]
        known = pl.concat([of.rename("date") for of in dates])
    return known.is_empty() or bool(known.is_between(first, last).all())


def dates_without_entries(lake: Lake, table: Table) -> list[date]:
    """Return capture dates that have rows in raw and no entry in the index `raw/key_dates`: the index was damaged."""
    if _is_dimension(table):
        return []
    entries = lake.scan(KEY_DATES).filter(nw.col("table_name") == table.name).select("captured_on").unique()
    captured = files_of(lake.open(RAW_OF[table.name]), RAW_OF[table.name])["date"]
    return sorted(set(captured) - set(rows_of(entries)["captured_on"]))


def was_never_captured(lake: Lake, table: Table) -> bool:
    """Return whether a cleansed table is of an optional table of the shop, and raw has never had a row of it."""
    if table not in CLEANSED or not entity_of(table).is_optional:
        return False
    raw = RAW_OF[table.name]
    return files_of(lake.open(raw), raw).is_empty()


def row_count(lake: Lake, table: Table, dates: tuple[date, date] | None = None) -> int:
    """Count the rows of a table, or of some of its partitions, from its log alone."""
    files = files_of(lake.open(table), table)
    if dates is not None:
        files = files.filter(pl.col("date").is_between(*dates))
    return int(files["rows"].sum())


def rows_by_date(lake: Lake, table: Table, dates: tuple[date, date] | None) -> pl.DataFrame:
    """Count the rows of a table, or of some partitions, by date (null without dates), from its log alone."""
    files = files_of(lake.open(table), table)
    within = files if dates is None else files.filter(pl.col("date").is_between(*dates))
    return within.group_by("date").agg(pl.col("rows").sum())


def _stored_tables(table: Table) -> tuple[Table, Table]:
    return table, QUARANTINE_OF[table.name]


def _versions(lake: Lake, table: Table) -> int:
    return int(rows_of(lake.scan(table).select(nw.col("versions").sum())).item() or 0)


def _is_dimension(table: Table) -> bool:
    return entity_of(table).is_dimension
