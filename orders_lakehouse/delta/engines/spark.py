"""The engine on a cluster: Spark reads the tables and computes, through Spark Connect.

The cluster writes new Parquet files next to the stored ones. This module then adds each file to the log in one commit,
or removes it. So both engines replace a date with the same commit and the same claims, and do not depend on the
cluster's own Delta writer. Only sums and samples of rows come to this process. `spark_session.py` has the session and
explains its failures.
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
from orders_lakehouse.delta.engines.spark_session import explain_cluster_errors, require_session, session
from orders_lakehouse.delta.object_store import LakeError, path_of
from orders_lakehouse.delta.replaced import SAMPLED, Replaced
from orders_lakehouse.delta.schema_evolution import as_contract
from orders_lakehouse.delta.storage_errors import explain_storage_errors
from orders_lakehouse.delta.table_files import files_of, has_rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

# Prefix of the folder for new files of the cluster. It does not begin with an underscore, so that vacuum finds files
# that a crash has left.
_FOLDER = "cluster-"
# Number of footers that are read at once.
_READERS = 16


class SparkEngine(Engine):
    """Computes on a cluster; only a few rows come to this process."""

    needs_batches = False
    sums_changes = False

    def scan(
        self,
        handle: DeltaTable,
        table: Table,
        dates: Sequence[tuple[date, date]] | None,  # noqa: ARG002 (the cluster finds the files of dates itself)
    ) -> Frame:
        """Return rows of a table at the version of its handle, lazily, on the cluster."""
        with explain_cluster_errors():
            reader = session().read.format("delta").option("versionAsOf", str(handle.version()))
            return as_contract(nw.from_native(reader.load(_on_cluster(handle))), handle, table)

    def collect(self, frames: Sequence[Frame]) -> list[pl.DataFrame]:
        """Compute frames one after the other, and fetch all of their rows."""
        return [_fetched(nw.to_native(frame)) for frame in frames]

    def row_batches(self, frame: Frame, most: int) -> Iterator[pl.DataFrame]:  # noqa: ARG002 (no other way)
        """Compute a frame, and fetch its rows all at once."""
        yield from self.collect([frame])

    def persist(self, frame: Frame) -> Frame:
        """Return the frame unchanged, because its rows stay on the cluster."""
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
        """Let the cluster write the rows of one table after the other, and commit the dates that differ."""
        # All plans are checked before the first one writes.
        conformed = [_conform(frame, table) for (table, _), frame in zip(targets, frames, strict=True)]
        for (table, handle), frame in zip(targets, conformed, strict=True):
            yield _replace(handle, table, frame, dates, metadata)


SPARK = SparkEngine()


def _fetched(plan: "DataFrame") -> pl.DataFrame:
    """Compute a plan on the cluster, and fetch its rows."""
    with explain_cluster_errors():
        rows = pl.from_arrow(plan.toArrow())
    require_session()
    assert isinstance(rows, pl.DataFrame)  # noqa: S101 (a table has columns)
    return rows


def _on_cluster(handle: DeltaTable, path: str = "") -> str:
    """Return the URI of a table, or of a path below it, for the cluster."""
    location = handle.table_uri.rstrip("/")
    uri = location if "://" in location else f"file://{location}"
    return f"{uri}/{path}" if path else uri


def _conform(frame: Frame, table: Table) -> Frame:
    """Return the columns of a table in its order; a wrong type is an error and is never cast silently."""
    expected = nw.from_native(pl.DataFrame(schema=table.schema)).schema
    with explain_cluster_errors():
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
        path: Path relative to the table's location.
        date: Date of its rows; None in a table without dates.
        bytes: Size in bytes.
        rows: Number of rows.
    """

    path: str
    date: date | None
    bytes: int
    rows: int


def _replace(
    handle: DeltaTable, table: Table, frame: Frame, dates: tuple[date, date] | None, metadata: Mapping[str, str]
) -> Replaced:
    """Write the dates whose rows differ from the stored ones, and claim all dates."""
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
    # A commit can succeed although its answer is lost. So after an error from here on the files stay, and maintenance
    # removes those that the log does not name.
    _commit(handle, table, kept, changed, dates, metadata)
    _remove(handle, *(file.path for file in files if file not in kept))
    return Replaced(by_date, sample, changed)


def _stage(handle: DeltaTable, table: Table, frame: Frame, folder: str) -> list[_File]:
    """Compute a frame on the cluster, and write its rows into a folder of the table that no reader reads."""
    plan: DataFrame = nw.to_native(frame)
    with explain_cluster_errors():
        writer = plan.write.format("parquet").mode("error")
        if table.partitioned_by:
            writer = writer.partitionBy(table.partitioned_by)
        writer.save(_on_cluster(handle, folder))
    require_session()
    with explain_storage_errors(handle.table_uri):
        storage = _files(handle)
        listed = storage.get_file_info(fs.FileSelector(folder, allow_not_found=True, recursive=True))
        written = [file for file in listed if file.type == fs.FileType.File and file.path.endswith(".parquet")]

        def described(file: fs.FileInfo) -> _File:
            rows = pq.ParquetFile(storage.open_input_file(file.path)).metadata.num_rows
            return _File(file.path, _date_of(file.path, table), file.size, rows)

        with ThreadPoolExecutor(_READERS) as readers:
            return [file for file in readers.map(described, written) if file.rows]


def _date_of(path: str, table: Table) -> date | None:
    day = re.search(rf"/{table.partitioned_by}=(\d{{4}}-\d\d-\d\d)/", path)
    return date.fromisoformat(day[1]) if day else None


def _require_within(files: Sequence[_File], table: Table, dates: tuple[date, date] | None) -> None:
    """Refuse rows of other dates, because writing them would duplicate them, and dropping them would lose them."""
    if dates is None:
        return
    outside = sorted({str(file.date) for file in files if file.date is None or not dates[0] <= file.date <= dates[1]})
    if outside:
        raise LakeError(
            f"found rows for {table.path} of {', '.join(outside[:5])}, expected only rows of {dates[0]} to {dates[1]}; "
            "nothing was committed"
        )


def _changed(
    handle: DeltaTable, table: Table, folder: str, dates: tuple[date, date] | None, by_date: pl.DataFrame
) -> pl.Series:
    """Return dates (null for a table without dates) whose stored rows differ from the files of a folder."""
    if by_date.is_empty() or not has_rows(handle, table, dates):
        files = files_of(handle, table)
        stored = files if dates is None else files.filter(pl.col("date").is_between(*dates))
        return pl.concat([by_date["date"], stored["date"]]).unique().sort()
    with explain_cluster_errors():
        rows: DataFrame = nw.to_native(SPARK.scan(handle, table, None))
        new = session().read.schema(rows.schema).parquet(_on_cluster(handle, folder))
        if dates is not None:
            rows = rows.filter(rows[str(table.partitioned_by)].between(*dates))
        before, after = (_fetched(_sums(side, table)) for side in (rows, new))
    return unequal_dates(before, after)


def _sums(rows: "DataFrame", table: Table) -> "DataFrame":
    """Return date, sum_1 and sum_2 (of two hashes of its rows), rows: equal where the rows are the same."""
    from pyspark.sql import functions as F

    columns = [F.col(name) for name in table.columns]
    # A hash ignores nulls, so their positions are hashed as a text.
    nulls = F.concat(*(F.when(column.isNull(), "1").otherwise("0") for column in columns))
    hashes = [F.xxhash64(*salt, nulls, *columns).cast("decimal(38,0)") for salt in ([], [F.lit(1)])]
    day = F.col(table.partitioned_by) if table.partitioned_by else F.lit(None).cast("date")
    hashed = rows.select(day.alias("date"), *(value.alias(f"h{number}") for number, value in enumerate(hashes, 1)))
    sums = [F.sum(f"h{number}").alias(f"sum_{number}") for number in (1, 2)]
    return hashed.groupBy("date").agg(*sums, F.count("*").alias("rows"))


def _sample(handle: DeltaTable, table: Table, files: Sequence[_File]) -> pl.DataFrame:
    """Return a few rows of a file of the last date."""
    for file in sorted(files, key=lambda file: str(file.date))[-1:]:
        with explain_storage_errors(handle.table_uri):
            first_rows = next(pq.ParquetFile(_files(handle).open_input_file(file.path)).iter_batches(SAMPLED))
        rows = pl.DataFrame(pl.from_arrow(first_rows))
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
    """Add new files to the log, and remove the old files of changed dates from it, in one commit."""
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
    stored = files_of(handle, table).filter(pl.col("date").is_in(changed.implode(), nulls_equal=True))
    old = [RemoveAction(path, data_change=True, deletion_timestamp=now) for path in stored["path"]]
    claims = commits.replacing_commit(handle, dates, changed, metadata)
    with explain_storage_errors(handle.table_uri):
        handle.create_write_transaction(
            [*new, *old], "append", handle.schema(), [by] if by else None, commit_properties=claims
        )


def _remove(handle: DeltaTable, *paths: str) -> None:
    """Remove files, or folders of files, that no log names."""
    with explain_storage_errors(handle.table_uri):
        storage = _files(handle)
        for path in paths:
            listed = storage.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=True))
            for file in [path] if path.endswith(".parquet") else [entry.path for entry in listed if entry.is_file]:
                storage.delete_file(file)


def _files(handle: DeltaTable) -> fs.PyFileSystem:
    return object_store.files_at(path_of(handle.table_uri))
