"""Capture a date of a raw table again because one of its files is damaged, and report what was lost."""

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
from orders_lakehouse.pipeline.capture import names_of_extras
from orders_lakehouse.pipeline.key_index import record_key_dates
from orders_lakehouse.tables import DATED, KEY_DATES, entity_of

# Columns that identify a version: its key as text, the part of the key by which the index finds it, and its clock.
_VERSION = {"key": pl.String(), "history": pl.String(), "updated_at": pl.Datetime("us", "UTC")}


@dataclass(frozen=True)
class Known:
    """Versions captured on a date that the lake knows of from other tables than raw.

    Attributes:
        entries: Rows of the index `raw/key_dates` of the date; none for members of dimensions.
        versions: key (as text), history (the part of it by which the index finds it), updated_at, of the versions in
            the cleansed table and in quarantine.
        unread: Errors of those of these tables that could not be read.
    """

    entries: pl.DataFrame
    versions: pl.DataFrame
    unread: Sequence[str]


@dataclass(frozen=True)
class Recaptured:
    """Outcome of the recapture of a date.

    Attributes:
        wrong: Problems of the date's files, each with its path; empty when all were whole.
        before: Number of rows in its files, by the table's log.
        kept: Rows that could still be read, columns of the raw table.
        taken: Rows of the shop that were not among them.
        lost: Keys, as text and in order, of known versions of the date that neither raw nor the shop has any more.
        known: Versions of the date that the lake knew of.
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
    """Replace a capture date of a raw table by its readable rows and by those that the shop has.

    A version whose clock runs ahead of its capture is left to the next capture.

    Args:
        lake: The lake.
        table: A raw table that has been made.
        day: The capture date.
        rows: Rows of the date in the shop, columns of the raw table.
        extras: Source columns that the contract does not have, row by row, by the source's names.
        calendar: First partition, and when dates begin.

    Returns:
        The rows kept, taken and lost. The date is replaced in one commit; if it fails, nothing has changed.
    """
    known = _known(lake, table, day)
    extra_columns = names_of_extras(lake.open(table), table, extras.schema) if extras.width else {}
    named = [extras[name].cast(dtype).alias(column) for name, (column, dtype) in extra_columns.items()]
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
        frames = [pl.DataFrame()]
        for path in of_day["path"]:
            readable, why = readable_rows(files, path)
            frames.append(readable)
            wrong.extend([f"{path} {why}"] if why else [])
        rows_kept = pl.concat(frames, how="diagonal_relaxed")
        return rows_kept.with_columns(pl.lit(day).alias(str(table.partitioned_by))), not wrong

    kept, taken = lake.replace_captured(table, day, of_date, (*table.key, "updated_at"), keep)
    return Recaptured(wrong, before, kept, taken, _lost(table, known, pl.concat([kept, taken])), known)


def affected_by(lake: Lake, table: Table, day: date, result: Recaptured, calendar: Calendar) -> set[date]:
    """Return the order dates that may change after a recapture: those of all rows with a version on its date.

    Args:
        lake: The lake.
        table: The raw table.
        day: The capture date.
        result: Outcome of the recapture.
        calendar: First partition, and when dates begin.
    """
    now = pl.concat([result.kept, result.taken])
    entity = entity_of(table)
    if not entity.is_dimension:
        changed = named_by(entity, now)
        entries = result.known.entries.select(changed.columns)
        changes = {of: changed.clear() for of in DATED}
        return dates_of_orders(lake, {**changes, entity: pl.concat([entries, changed]).unique()})
    versions = pl.concat([result.known.versions, _versions(now, table)]).unique()
    changed = versions.select(pl.col("key").alias(table.key[0]), "updated_at", captured_on=pl.lit(day))
    return dates_of_members(lake, entity, changed, calendar)


def _known(lake: Lake, table: Table, day: date) -> Known:
    on_day = nw.col("captured_on") == nw.lit(day)
    entries = pl.DataFrame(schema=KEY_DATES.schema)
    entity = entity_of(table)
    if not entity.is_dimension:
        entries = rows_of(lake.scan(KEY_DATES).filter(nw.col("table_name") == table.name, on_day))
    frames, unread = [pl.DataFrame(schema=_VERSION)], []
    for place in (entity.cleansed, entity.quarantine):
        if find(lake, place) is None:
            continue
        try:
            rows = rows_of(lake.scan(place).filter(on_day).select(*table.key, "updated_at"))
        except LakeError as error:
            # The table is derived from raw; its versions only make the report more exact.
            unread.append(str(error))
        else:
            frames.append(_versions(rows, table))
    return Known(entries, pl.concat(frames).unique(), unread)


def _versions(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    texts = [pl.col(name).cast(pl.String).fill_null("") for name in table.key]
    return rows.select(
        key=pl.concat_str(texts, separator=KEY_SEPARATOR),
        history=pl.col(table.key[0]),
        updated_at=pl.col("updated_at").cast(_VERSION["updated_at"]),
    )


def _lost(table: Table, known: Known, now: pl.DataFrame) -> list[str]:
    present = _versions(now, table)
    versions = known.versions.join(present, on=["key", "updated_at"], how="anti", nulls_equal=True)
    # The index knows lines by their order alone; the tables may know the whole key.
    known_in_tables = pl.concat([present, versions])["history"]
    entries = known.entries.filter(~pl.col("key").is_in(known_in_tables.implode(), nulls_equal=True))["key"]
    return sorted({*versions["key"], *entries.fill_null("")})
