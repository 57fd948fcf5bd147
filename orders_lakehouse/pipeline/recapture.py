"""A capture date of a raw table that is taken again, because a file of it is damaged: the way out, and its price."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import narwhals as nw
import polars as pl
from deltalake import DeltaTable

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.raw import AHEAD_HOURS
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.waivers import KEY_SEPARATOR
from orders_lakehouse.delta.corruption import readable_rows
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.object_store import LakeError, files_at
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.affected_dates import dates_of_members, dates_of_orders, named_by
from orders_lakehouse.pipeline.capture import names_beside
from orders_lakehouse.pipeline.key_index import record_key_dates
from orders_lakehouse.tables import DATED, KEY_DATES, entity_of

# How a version is told: its key as text, the part of it by which the index finds it, and its clock.
_VERSION = {"key": pl.String(), "history": pl.String(), "updated_at": pl.Datetime("us", "UTC")}


@dataclass(frozen=True)
class Known:
    """What the lake knows was captured on a date, beside the raw table itself.

    Attributes:
        entries: Rows of the index `raw/key_dates` of the date; none for members of dimensions.
        versions: key (as text), history (the part of it by which the index finds it), updated_at, of the versions that
            stand in the cleansed table and in quarantine.
        unread: Why one of these could not be read, where one could not.
    """

    entries: pl.DataFrame
    versions: pl.DataFrame
    unread: Sequence[str]


@dataclass(frozen=True)
class Recaptured:
    """What became of a date.

    Attributes:
        wrong: What is wrong with its files, each with its path; empty when all were whole.
        before: Rows that its files held, by the table's log.
        kept: Rows that could still be read, columns of the raw table.
        taken: Rows of the shop that were not among them.
        lost: Keys, as text and in order, of versions of the date that are known and that nobody has any more.
        known: What the lake knew of the date.
    """

    wrong: Sequence[str]
    before: int
    kept: pl.DataFrame
    taken: pl.DataFrame
    lost: Sequence[str]
    known: Known


def recapture(
    lake: Lake, table: Table, day: date, rows: pl.DataFrame, extras: pl.DataFrame, calendar: Calendar
) -> Recaptured:
    """Replace a capture date of a raw table by what can be read of it, and by what the shop has of it.

    A version whose clock runs ahead of its capture is left to the next capture.

    Args:
        lake: The lake.
        table: A raw table that has been made.
        day: The capture date.
        rows: What the shop has of the date, columns of the raw table.
        extras: What the shop has beside these columns, row by row, under its names.
        calendar: First partition, and when dates begin.

    Returns:
        What was kept, taken and lost. The date stands in one commit; when that fails, nothing has changed.
    """
    known = _known(lake, table, day)
    beside = names_beside(lake.open(table), table, extras.schema) if extras.width else {}
    named = [extras[name].cast(dtype).alias(column) for name, (column, dtype) in beside.items()]
    is_ahead = pl.col("updated_at") > pl.col("captured_at").dt.offset_by(f"{AHEAD_HOURS}h")
    of_date = rows.with_columns(*named).filter(pl.col("captured_on") == day, ~is_ahead.fill_null(value=False))
    record_key_dates(lake, table, of_date.select(table.columns), calendar)
    wrong: list[str] = []
    before = 0

    def keep(handle: DeltaTable) -> tuple[pl.DataFrame, bool]:
        nonlocal before
        of_day = files_of(handle, table).filter(pl.col("date") == day)
        before = int(of_day["rows"].sum())
        wrong.clear()
        files = files_at(lake.location(table))
        found = [pl.DataFrame()]
        for path in of_day["path"]:
            readable, why = readable_rows(files, path)
            found.append(readable)
            wrong.extend([f"{path} {why}"] if why else [])
        rows_kept = pl.concat(found, how="diagonal_relaxed")
        return rows_kept.with_columns(pl.lit(day).alias(str(table.partitioned_by))), not wrong

    kept, taken = lake.replace_captured(table, day, of_date, (*table.key, "updated_at"), keep)
    return Recaptured(wrong, before, kept, taken, _lost(table, known, pl.concat([kept, taken])), known)


def touched_by(lake: Lake, table: Table, day: date, done: Recaptured, calendar: Calendar) -> set[date]:
    """Order dates that may come out otherwise after a recapture: of all rows that had a version on its date.

    Args:
        lake: The lake.
        table: The raw table.
        day: The capture date.
        done: What became of it.
        calendar: First partition, and when dates begin.
    """
    now = pl.concat([done.kept, done.taken])
    entity = entity_of(table)
    if not entity.is_dimension:
        changed = named_by(entity, now)
        entries = done.known.entries.select(changed.columns)
        changes = {of: changed.clear() for of in DATED}
        return dates_of_orders(lake, {**changes, entity: pl.concat([entries, changed]).unique()})
    versions = pl.concat([done.known.versions, _versions(now, table)]).unique()
    changed = versions.select(pl.col("key").alias(table.key[0]), "updated_at", captured_on=pl.lit(day))
    return dates_of_members(lake, entity, changed, calendar)


def _known(lake: Lake, table: Table, day: date) -> Known:
    on_day = nw.col("captured_on") == nw.lit(day)
    entries = pl.DataFrame(schema=KEY_DATES.schema)
    entity = entity_of(table)
    if not entity.is_dimension:
        entries = rows_of(lake.scan(KEY_DATES).filter(nw.col("table_name") == table.name, on_day))
    found, unread = [pl.DataFrame(schema=_VERSION)], []
    for place in (entity.cleansed, entity.quarantine):
        if find(lake, place) is None:
            continue
        try:
            rows = rows_of(lake.scan(place).filter(on_day).select(*table.key, "updated_at"))
        except LakeError as error:
            # It is derived; what it knows only makes the report more exact.
            unread.append(str(error))
        else:
            found.append(_versions(rows, table))
    return Known(entries, pl.concat(found).unique(), unread)


def _versions(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    texts = [pl.col(name).cast(pl.String).fill_null("") for name in table.key]
    return rows.select(
        key=pl.concat_str(texts, separator=KEY_SEPARATOR),
        history=pl.col(table.key[0]),
        updated_at=pl.col("updated_at").cast(_VERSION["updated_at"]),
    )


def _lost(table: Table, known: Known, now: pl.DataFrame) -> list[str]:
    there = _versions(now, table)
    versions = known.versions.join(there, on=["key", "updated_at"], how="anti", nulls_equal=True)
    # The index knows of lines by their order alone, and the tables may know them better.
    better = pl.concat([there, versions])["history"]
    entries = known.entries.filter(~pl.col("key").is_in(better.implode(), nulls_equal=True))["key"]
    return sorted({*versions["key"], *entries.fill_null("")})
