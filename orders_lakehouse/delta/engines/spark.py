"""The engine on a cluster: Spark reads the tables and computes, by Spark Connect.

The cluster writes Parquet files beside those that stand. This module names each of them in the log, in one commit of
ours, or removes it. So a date is replaced by the same commit with the same claims on both engines, whatever the
cluster's own writer of Delta can do. No more than sums and samples of the rows come to this process. The session and
its failures are `spark_session.py`.
"""

import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import narwhals as nw
import polars as pl
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction
from pyarrow import fs

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.delta import commits, object_store
from orders_lakehouse.delta.differences import unequal_dates
from orders_lakehouse.delta.engines.base import Engine
from orders_lakehouse.delta.engines.spark_session import cluster_trouble, require_session, session
from orders_lakehouse.delta.object_store import LakeError, path_of
from orders_lakehouse.delta.replaced import SAMPLED, Replaced
from orders_lakehouse.delta.schema_evolution import as_contract
from orders_lakehouse.delta.storage_errors import storage_trouble
from orders_lakehouse.delta.table_files import files_of, has_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# Prefix of the folder of files that the cluster has written at once; without an underscore in front, so that vacuum
# finds what a crash has left.
_FOLDER = "cluster-"
# Footers that are read at once.
_READERS = 16


class SparkEngine(Engine):
    """Computes on a cluster; little comes to this process."""

    needs_batches = False
    sums_changes = False

    def scan(
        self,
        handle: DeltaTable,
        table: Table,
        dates: Sequence[tuple[date, date]] | None,  # noqa: ARG002 (the cluster finds the files of dates itself)
    ) -> Frame:
        """Return rows of a table at the version of its handle, lazily, on the cluster."""
        with cluster_trouble():
            reader = session().read.format("delta").option("versionAsOf", str(handle.version()))
            return as_contract(nw.from_native(reader.load(_on_cluster(handle))), handle, table)

    def collect(self, frames: Sequence[Frame]) -> list[pl.DataFrame]:
        """Compute frames one after the other, and fetch all of their rows."""
        return [_fetched(nw.to_native(frame)) for frame in frames]

    def row_batches(self, frame: Frame, most: int) -> Iterator[pl.DataFrame]:  # noqa: ARG002 (no other way)
        """Compute a frame, and fetch its rows all at once."""
        yield from self.collect([frame])

    def persist(self, frame: Frame) -> Frame:
        """Return the frame: what the cluster computes stays there."""
        return frame

    def narrow(self, rows: Frame, keys: Frame, column: str) -> Frame:  # noqa: ARG002 (another job would cost more)
        """Return all rows."""
        return rows

    def replace(
        self,
        targets: Sequence[tuple[Table, DeltaTable]],
        frames: Sequence[Frame],
        dates: tuple[date, date] | None,
        metadata: Mapping[str, str],
    ) -> Iterator[Replaced]:
        """Have the cluster write the rows of one table after the other, and commit the dates that differ."""
        # Each plan is understood before the first one writes.
        conformed = [_conform(frame, table) for (table, _), frame in zip(targets, frames, strict=True)]
        for (table, handle), frame in zip(targets, conformed, strict=True):
            yield _replace(handle, table, frame, dates, metadata)


SPARK = SparkEngine()


def _fetched(plan: "DataFrame") -> pl.DataFrame:
    """Compute a plan on the cluster, and fetch its rows."""
    with cluster_trouble():
        rows = pl.from_arrow(plan.toArrow())
    require_session()
    assert isinstance(rows, pl.DataFrame)  # noqa: S101 (a table has columns)
    return rows


def _on_cluster(handle: DeltaTable, path: str = "") -> str:
    """Return a table's location, or a path below it, as the cluster finds it."""
    location = handle.table_uri.rstrip("/")
    uri = location if "://" in location else f"file://{location}"
    return f"{uri}/{path}" if path else uri


def _conform(frame: Frame, table: Table) -> Frame:
    """Return the columns of a table in its order; a type is exact, or an error, never cast silently."""
    expected = nw.from_native(pl.DataFrame(schema=table.schema)).schema
    with cluster_trouble():
        found = frame.collect_schema()
    wrong = [
        f"{name}: expected {dtype}, found {found.get(name, 'nothing')}"
        for name, dtype in expected.items()
        if found.get(name) != dtype
    ]
    if wrong:
        raise LakeError(f"rows for {table.path} do not fit its contract: {'; '.join(wrong)}")
    return frame.select(table.columns)


@dataclass(frozen=True)
class _File:
    """A file that the cluster has written, below the table.

    Attributes:
        path: From the table's location on.
        date: Of its rows; None in a table without dates.
        bytes: Its size.
        rows: Its rows.
    """

    path: str
    date: date | None
    bytes: int
    rows: int


def _replace(
    handle: DeltaTable, table: Table, frame: Frame, dates: tuple[date, date] | None, metadata: Mapping[str, str]
) -> Replaced:
    """Write the dates of a frame that differ from what stands in a table; claim all of them."""
    folder = f"{_FOLDER}{uuid.uuid4().hex}"
    try:
        files = _stage(handle, table, frame, folder)
        _require_within(files, table, dates)
        counted = {"date": [file.date for file in files], "rows": [file.rows for file in files]}
        by_date = pl.DataFrame(counted, schema={"date": pl.Date, "rows": pl.Int64})
        by_date = by_date.group_by("date").agg(pl.col("rows").sum())
        changed = _changed(handle, table, folder, dates, by_date)
        kept = [file for file in files if file.date in set(changed)]
        sample = _sample(handle, table, files)
    except BaseException:
        _remove(handle, folder)
        raise
    # A commit may stand although its answer was lost: from here on an error says nothing of whether the log names the
    # files, so they stay, and maintenance removes those that it does not name.
    _commit(handle, table, kept, changed, dates, metadata)
    _remove(handle, *(file.path for file in files if file not in kept))
    return Replaced(by_date, sample, changed)


def _stage(handle: DeltaTable, table: Table, frame: Frame, folder: str) -> list[_File]:
    """Compute a frame on the cluster and have its rows written into a folder of the table, which no reader looks at."""
    plan: DataFrame = nw.to_native(frame)
    with cluster_trouble():
        writer = plan.write.format("parquet").mode("error")
        if table.partitioned_by:
            writer = writer.partitionBy(table.partitioned_by)
        writer.save(_on_cluster(handle, folder))
    require_session()
    with storage_trouble(handle.table_uri):
        there = _files(handle)
        listed = there.get_file_info(fs.FileSelector(folder, allow_not_found=True, recursive=True))
        found = [file for file in listed if file.type == fs.FileType.File and file.path.endswith(".parquet")]

        def described(file: fs.FileInfo) -> _File:
            rows = pq.ParquetFile(there.open_input_file(file.path)).metadata.num_rows
            return _File(file.path, _date_of(file.path, table), file.size, rows)

        with ThreadPoolExecutor(_READERS) as readers:
            return [file for file in readers.map(described, found) if file.rows]


def _date_of(path: str, table: Table) -> date | None:
    day = re.search(rf"/{table.partitioned_by}=(\d{{4}}-\d\d-\d\d)/", path)
    return date.fromisoformat(day[1]) if day else None


def _require_within(files: Sequence[_File], table: Table, dates: tuple[date, date] | None) -> None:
    """Refuse rows of other dates: to write them would double them, and to leave them out would lose them."""
    if dates is None:
        return
    outside = sorted({str(file.date) for file in files if file.date is None or not dates[0] <= file.date <= dates[1]})
    if outside:
        raise LakeError(
            f"found rows for {table.path} of {', '.join(outside[:5])}, expected none but of {dates[0]} to {dates[1]}; "
            "nothing was committed"
        )


def _changed(
    handle: DeltaTable, table: Table, folder: str, dates: tuple[date, date] | None, by_date: pl.DataFrame
) -> pl.Series:
    """Return dates (null for a table without any) that do not hold the same rows as the files of a folder."""
    if by_date.is_empty() or not has_rows(handle, table, dates):
        files = files_of(handle, table)
        standing = files if dates is None else files.filter(pl.col("date").is_between(*dates))
        return pl.concat([by_date["date"], standing["date"]]).unique().sort()
    with cluster_trouble():
        rows: DataFrame = nw.to_native(SPARK.scan(handle, table, None))
        new = session().read.schema(rows.schema).parquet(_on_cluster(handle, folder))
        if dates is not None:
            rows = rows.filter(rows[str(table.partitioned_by)].between(*dates))
        before, after = (_fetched(_sums(side, table)) for side in (rows, new))
    return unequal_dates(before, after)


def _sums(rows: "DataFrame", table: Table) -> "DataFrame":
    """Return date, one and other (sums of two hashes of its rows), rows: equal where the rows are the same."""
    from pyspark.sql import functions as F

    columns = [F.col(name) for name in table.columns]
    # A hash passes over nulls, wherever they stand.
    nulls = F.concat(*(F.when(column.isNull(), "1").otherwise("0") for column in columns))
    hashes = [F.xxhash64(*salt, nulls, *columns).cast("decimal(38,0)") for salt in ([], [F.lit(1)])]
    day = F.col(table.partitioned_by) if table.partitioned_by else F.lit(None).cast("date")
    hashed = rows.select(day.alias("date"), *(one.alias(f"h{number}") for number, one in enumerate(hashes)))
    return hashed.groupBy("date").agg(F.sum("h0").alias("one"), F.sum("h1").alias("other"), F.count("*").alias("rows"))


def _sample(handle: DeltaTable, table: Table, files: Sequence[_File]) -> pl.DataFrame:
    """Return a few rows of the first file."""
    for file in files[:1]:
        with storage_trouble(handle.table_uri):
            some = next(pq.ParquetFile(_files(handle).open_input_file(file.path)).iter_batches(SAMPLED))
        rows = pl.DataFrame(pl.from_arrow(some))
        if table.partitioned_by:
            rows = rows.with_columns(pl.lit(file.date).alias(table.partitioned_by))
        return rows.select(table.columns).cast(pl.Schema(table.schema))
    return pl.DataFrame(schema=table.schema)


def _commit(
    handle: DeltaTable,
    table: Table,
    files: Sequence[_File],
    changed: pl.Series,
    dates: tuple[date, date] | None,
    metadata: Mapping[str, str],
) -> None:
    """Name new files in the log and take those of the dates that changed out of it, in one commit."""
    now = int(time.time() * 1000)
    by = table.partitioned_by
    new = [
        AddAction(
            file.path,
            file.bytes,
            {by: str(file.date)} if by else {},
            now,
            data_change=True,
            stats=json.dumps({"numRecords": file.rows}),
        )
        for file in files
    ]
    standing = files_of(handle, table).filter(pl.col("date").is_in(changed.implode(), nulls_equal=True))
    old = [RemoveAction(path, data_change=True, deletion_timestamp=now) for path in standing["path"]]
    claims = commits.replacing(handle, dates, changed, metadata)
    with storage_trouble(handle.table_uri):
        handle.create_write_transaction(
            [*new, *old], "append", handle.schema(), [by] if by else None, commit_properties=claims
        )


def _remove(handle: DeltaTable, *paths: str) -> None:
    """Remove files, or folders of files, that no log names."""
    with storage_trouble(handle.table_uri):
        there = _files(handle)
        for path in paths:
            listed = there.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=True))
            for file in [path] if path.endswith(".parquet") else [one.path for one in listed if one.is_file]:
                there.delete_file(file)


def _files(handle: DeltaTable) -> fs.PyFileSystem:
    return object_store.files_at(path_of(handle.table_uri))
