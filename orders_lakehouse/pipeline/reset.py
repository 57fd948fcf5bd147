"""Start over: remove a table with its files, and what other tables of the lake recorded about it.

A table is opened only to report its size, so that a damaged table can be removed like any other.
"""

import os
import shutil
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import narwhals as nw
import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pyarrow import fs

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.storage_errors import explain_storage_errors
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.tables import CHECK_RESULTS, CLEANSED, KEY_DATES, QUARANTINE, RAW, SOURCE_COLUMNS

# Prefix of a folder that is being removed, next to the old one; the next reset removes what a killed one left.
_REMOVED = ".removed-"


@dataclass(frozen=True)
class Overwritten:
    """Rows that only raw has.

    Attributes:
        versions: Versions that later ones have superseded; the shop no longer has them.
        gone: Rows that the shop has deleted or does not offer any more.
    """

    versions: int
    gone: int


def rows_in(lake: Lake, table: Table) -> int | None:
    """Return the number of rows of a table; None where it was not made.

    Raises:
        LakeError: The table is damaged.
        StorageUnavailableError: The storage does not answer.
    """
    handle = _opened(lake, table)
    return None if handle is None else int(files_of(handle, table)["rows"].sum())


def known_dates(lake: Lake) -> tuple[date, date] | None:
    """Return the first and the last date of captured and of cleansed rows; None where there are none.

    Raises:
        StorageUnavailableError: The storage does not answer.
    """
    dates: list[date] = []
    for table in (*RAW, *CLEANSED, *QUARANTINE):
        try:
            handle = _opened(lake, table)
        except LakeError:
            # A damaged table adds no date; the tables before and after it do.
            continue
        if handle is not None:
            dates.extend(files_of(handle, table)["date"].drop_nulls().unique())
    return (min(dates), max(dates)) if dates else None


def overwritten(lake: Lake, table: Table) -> Overwritten | None:
    """Return the rows that are lost for good with a raw table; None where it was not made or cannot be read."""
    try:
        if _opened(lake, table) is None:
            return None
        versions: pl.LazyFrame = nw.to_native(lake.scan(table).select(*table.key, "updated_at", "deleted_at"))
        last = versions.sort("updated_at").group_by(table.key).agg(pl.len(), pl.col("deleted_at").last())
        counted = last.select(
            versions=(pl.col("len") - 1).sum().cast(pl.Int64),
            gone=pl.col("deleted_at").is_not_null().sum().cast(pl.Int64),
        )
        return Overwritten(**rows_of(nw.from_native(counted)).row(0, named=True))
    except LakeError:
        return None


def _opened(lake: Lake, table: Table) -> DeltaTable | None:
    """Open a table; None where it was not made.

    Raises:
        LakeError: The table is damaged, for example by a removal that was killed in a bucket.
        StorageUnavailableError: The storage does not answer.
    """
    try:
        return find(lake, table)
    except DeltaError as error:
        raise LakeError(f"{table.path} cannot be opened: {error}") from error


def remove(lake: Lake, table: Table) -> None:
    """Remove a table with all of its files and versions, and what a killed removal has left.

    Raises:
        LakeError: The storage refuses.
        StorageUnavailableError: The storage does not answer.
    """
    location = lake.location(table)
    if object_store.is_s3(location):
        with explain_storage_errors(location):
            _remove_objects(object_store.files_at(location))
        return
    path = Path(location)
    if path.exists():
        # The rename is atomic: a reader finds the table or no table.
        os.replace(path, path.with_name(f"{_REMOVED}{path.name}-{uuid.uuid4().hex}"))
    for leftover in path.parent.glob(f"{_REMOVED}{path.name}-*"):
        shutil.rmtree(leftover)


def _remove_objects(files: "fs.PyFileSystem") -> None:
    """Remove the objects of a table, those of its log first: without a log, the others belong to no table."""
    paths = [file.path for file in files.get_file_info(fs.FileSelector("", recursive=True)) if file.is_file]
    for path in sorted(paths, key=lambda path: (not path.startswith("_delta_log"), path)):
        files.delete_file(path)


def forget_results(lake: Lake, assets: Collection[str]) -> None:
    """Remove the check results of some tables.

    Args:
        lake: The lake.
        assets: Names of the tables, layer/name.
    """
    if find(lake, CHECK_RESULTS) is not None:
        lake.replace_all(
            CHECK_RESULTS, lambda source: source.scan(CHECK_RESULTS).filter(~nw.col("asset").is_in(sorted(assets)))
        )


def forget_captures(lake: Lake, tables: Collection[Table]) -> None:
    """Remove the index entries and the recorded source columns of some raw tables."""
    names = [table.name for table in tables]
    for memory in (KEY_DATES, SOURCE_COLUMNS):
        if find(lake, memory) is not None:
            lake.replace_all(memory, partial(_of_other_tables, memory, names))


def _of_other_tables(memory: Table, names: list[str], source: Lake) -> Frame:
    return source.scan(memory).filter(~nw.col("table_name").is_in(names))
