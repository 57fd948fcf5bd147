"""The lake: open its tables by name, to read and to write. All other code opens tables through this module.

`writer.py` and `engines/` write rows; `log.py` reads versions and commits.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TypeVar

import narwhals as nw
import polars as pl
from deltalake import DeltaTable

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.delta import opening, table_cache, writer
from orders_lakehouse.delta.commits import retry_on_conflict
from orders_lakehouse.delta.date_predicates import few_spans
from orders_lakehouse.delta.engines.base import Engine
from orders_lakehouse.delta.engines.choice import engine_of
from orders_lakehouse.delta.engines.polars import POLARS
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.replaced import Replaced
from orders_lakehouse.delta.schema_evolution import Migrated
from orders_lakehouse.delta.storage_errors import explain_storage_errors
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.table_properties import TableProperties

Result = TypeVar("Result")


@dataclass(frozen=True)
class Lake:
    """The Delta tables under one root.

    Attributes:
        url: Directory or object store URL; a table is stored at `<url>/<layer>/<name>`.
        timezone: Time zone of dates; written into every table.
        start: First partition; written into every table. None accepts the first partition that a table records.
        engine: Engine that derives dates. `Lake.scan` always uses Polars in this process.
    """

    url: str
    timezone: str
    start: date | None = None
    engine: Engine = POLARS

    def location(self, table: Table) -> str:
        """Return the location of a table."""
        return f"{self.url}/{table.path}"

    def find(self, table: Table, version: int | None = None) -> DeltaTable:
        """Open a table to read it, at its latest version or a given one, without checking its properties.

        Raises:
            TableNotFoundError: The table does not exist.
            LakeError: Its storage cannot be used, or its log is damaged.
            StorageUnavailableError: Its storage does not answer.
        """
        location = self.location(table)
        with explain_storage_errors(location):
            return table_cache.open_shared(location, version)

    def open(self, table: Table) -> DeltaTable:
        """Open a table to read it, and create it if it does not exist.

        Raises:
            LakeError: The table was made with another time zone or first partition, or by a program with a newer
                contract.
        """
        return opening.open_checked(self.location(table), table, self._expected(table), table_cache.open_shared)

    def migrate(self, table: Table) -> Migrated | None:
        """Migrate a table of an older program to its contract; return None where there is nothing to do.

        Raises:
            LakeError: It was made with another time zone, or by a newer program, or has a type that cannot be
                converted.
            StorageUnavailableError: Another writer was faster.
        """
        return opening.migrate_table(self.location(table), table, self._expected(table))

    def _expected(self, table: Table) -> TableProperties:
        return TableProperties.expected(table, self.timezone, self.start)

    def _open_to_write(self, table: Table, extra: Mapping[str, pl.DataType] | None = None) -> DeltaTable:
        return opening.open_to_write(self.location(table), table, self._expected(table), extra)

    def scan(
        self,
        table: Table,
        *,
        between: tuple[date, date] | None = None,
        dates: Sequence[date] | None = None,
    ) -> Frame:
        """Return rows of a table, lazily.

        Args:
            table: The table.
            between: First and last partition to read, inclusive.
            dates: Partitions to read, instead of `between`.

        Returns:
            The table's columns.
        """
        handle = self.open(table)
        if dates is not None:
            return self.scan_at(handle, table, dates)
        if between is None:
            return self.rows_at(handle, table)
        first, last = map(nw.lit, between)
        return self.rows_at(handle, table, [between]).filter(nw.col(str(table.partitioned_by)).is_between(first, last))

    def scan_at(self, handle: DeltaTable, table: Table, dates: Sequence[date]) -> Frame:
        """Return rows of some partitions of a table at the version of an open handle, lazily."""
        rows = self.rows_at(handle, table, few_spans(dates))
        return rows.filter(nw.col(str(table.partitioned_by)).is_in(list(dates)))

    def rows_at(self, handle: DeltaTable, table: Table, spans: Sequence[tuple[date, date]] | None = None) -> Frame:
        """Return rows of a table at the version of an open handle, lazily: the columns of its contract.

        Args:
            handle: The table, open.
            table: The table.
            spans: First and last date of the spans to read; rows of other dates may be left out.
        """
        return POLARS.scan(handle, table, spans)

    def latest_date(self, table: Table, default: date | None = None) -> date:
        """Return the last partition that has rows, from the log alone; `default` if the table is empty.

        Raises:
            LakeError: The table is empty, and there is no default.
        """
        newest = files_of(self.open(table), table)["date"].max()
        latest = newest if isinstance(newest, date) else default
        if latest is None:
            raise LakeError(f"{table.path} is empty; first materialize it for a date that has orders")
        return latest

    def insert_new(self, table: Table, rows: pl.DataFrame, identity: Sequence[str]) -> int:
        """Insert the rows that the table lacks; stored rows do not change.

        A row is compared with the last captured row of its identity, so a row that returns to an older content is new.
        Two concurrent inserts of the same row store it once.

        Args:
            table: A table of raw. Only the partitions of `rows` are read.
            rows: The table's columns. Columns that the contract lacks are added to the table.
            identity: Columns that identify a version of a row. A row is stored already if these columns, the partition
                and all other columns of the contract except the lineage are equal.

        Returns:
            Number of rows inserted.
        """
        extra = {name: dtype for name, dtype in rows.schema.items() if name not in table.schema}

        def insert(handle: DeltaTable) -> int:
            return writer.insert_new(handle, table, rows, identity)

        return 0 if rows.is_empty() else self._write(table, lambda: self._open_to_write(table, extra), insert)

    def replace_captured(
        self,
        table: Table,
        day: date,
        rows: pl.DataFrame,
        identity: Sequence[str],
        keep: writer.Keep,
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Replace a capture date of a raw table in one commit with its rows to keep and the offered rows that are new.

        Files may be damaged, so only `keep` reads the table, and the table is not updated from an older contract.

        Args:
            table: A table of raw.
            day: The partition.
            rows: Rows of the partition, as for `insert_new`.
            identity: As for `insert_new`.
            keep: Reads the rows of the partition that stay, and says whether these are all of its rows. If all rows
                stay and no row is added, nothing is written.

        Returns:
            The rows that were kept, and those that were added, with the table's columns.
        """

        def open_unchanged() -> DeltaTable:
            return opening.open_checked(self.location(table), table, self._expected(table), table_cache.open_own)

        def replace(handle: DeltaTable) -> tuple[pl.DataFrame, pl.DataFrame]:
            return writer.replace_captured(handle, table, day, rows, identity, keep)

        return self._write(table, open_unchanged, replace)

    def append(self, table: Table, rows: pl.DataFrame) -> None:
        """Append rows to an unpartitioned table, in which a duplicate row is harmless.

        Each append adds a file; when there are many, they are compacted into one.
        """
        if not rows.is_empty():
            self._write(table, lambda: self._open_to_write(table), lambda handle: writer.append(handle, table, rows))

    def _write(
        self, table: Table, open_handle: Callable[[], DeltaTable], write: Callable[[DeltaTable], Result]
    ) -> Result:
        """Write through a new handle and share it with readers afterwards; retry after a conflict."""

        def attempt() -> Result:
            handle = open_handle()
            result = write(handle)
            table_cache.share(self.location(table), handle)
            return result

        return retry_on_conflict(attempt)

    def present(self, table: Table, rows: pl.DataFrame, identity: Sequence[str]) -> pl.DataFrame:
        """Return the offered rows that the table has stored already, compared by partition and identity."""
        return rows if rows.is_empty() else writer.present(self.open(table), table, rows, identity)

    def snapshot(self, versions: Mapping[str, int] | None = None) -> "Snapshot":
        """Return a snapshot of the lake to read from, always with Polars.

        Args:
            versions: Versions of some tables, by path. Each other table keeps the version that it has at its first use.
        """
        return Snapshot(self.url, self.timezone, self.start, POLARS, dict(versions or {}))

    def source(self, versions: Mapping[str, int] | None = None) -> "Snapshot":
        """Return a snapshot that the lake's engine reads, for deriving dates and checking them."""
        return Snapshot(self.url, self.timezone, self.start, self.engine, dict(versions or {}))

    def replace_dates(
        self,
        tables: Sequence[Table],
        first: date,
        last: date,
        derive: Callable[["Lake"], Sequence[Frame]],
        run_id: str = "",
    ) -> list[Replaced]:
        """Replace a range of dates of one or more tables with the rows that `derive` makes from earlier stages.

        The targets are opened before `derive` reads anything, and commits use these handles. If another writer has
        written one of the dates since then, everything is read and derived again. So a late writer never replaces
        fresh rows with stale ones. Dates whose rows do not change are not written.

        Args:
            tables: Targets, partitioned by a date.
            first: First date.
            last: Last date.
            derive: Makes the new rows of each target, within the dates, from a snapshot of the lake.
            run_id: The run that replaces the dates. The commit names the run and the versions that `derive` read.

        Returns:
            The outcome for each target.
        """

        def replace() -> list[Replaced]:
            targets = [(table, self._open_to_write(table)) for table in tables]
            source = self.source()
            frames = derive(source)
            return self._replace(targets, frames, (first, last), source.read_metadata(run_id))

        return retry_on_conflict(replace)

    def replace_all(self, table: Table, derive: Callable[["Lake"], Frame], run_id: str = "") -> Replaced:
        """Replace an unpartitioned table, with the same protection from stale rows as `replace_dates`."""

        def replace() -> Replaced:
            targets = [(table, self._open_to_write(table))]
            source = self.source()
            frames = [derive(source)]
            (replaced,) = self._replace(targets, frames, None, source.read_metadata(run_id))
            return replaced

        return retry_on_conflict(replace)

    def _replace(
        self,
        targets: Sequence[tuple[Table, DeltaTable]],
        frames: Sequence[Frame],
        dates: tuple[date, date] | None,
        metadata: Mapping[str, str],
    ) -> list[Replaced]:
        """Replace dates of tables through their handles, in order, on the engine of the frames."""
        results = []
        replaced = engine_of(*frames).replace(targets, frames, dates, metadata)
        for (table, handle), result in zip(targets, replaced, strict=True):
            table_cache.share(self.location(table), handle)
            results.append(result)
        return results


@dataclass(frozen=True)
class Snapshot(Lake):
    """A lake in which each table keeps the version at which it was first read. Its engine scans the rows.

    Attributes:
        versions: Version of each table that has been read, or was given, by path.
    """

    versions: dict[str, int] = field(default_factory=dict)
    _handles: dict[str, DeltaTable] = field(default_factory=dict, compare=False, repr=False)

    def open(self, table: Table) -> DeltaTable:
        """Open a table at its version in the snapshot; the first use of a table fixes the version."""
        handle = self._handles.get(table.path)
        if handle is None:
            handle = super().open(table)
            version = self.versions.setdefault(table.path, handle.version())
            if version != handle.version():
                handle = self.find(table, version)
            self._handles[table.path] = handle
        return handle

    def find(self, table: Table, version: int | None = None) -> DeltaTable:
        """Open a table to read it, at its version in the snapshot or at the given one."""
        if version is not None:
            return super().find(table, version)
        handle = self._handles.get(table.path)
        if handle is None:
            handle = super().find(table, self.versions.get(table.path))
            self.versions[table.path] = handle.version()
            self._handles[table.path] = handle
        return handle

    def rows_at(self, handle: DeltaTable, table: Table, spans: Sequence[tuple[date, date]] | None = None) -> Frame:
        """Return rows of a table at the version of an open handle, lazily, as `Lake.rows_at` does."""
        return self.engine.scan(handle, table, spans)

    def read_metadata(self, run_id: str) -> dict[str, str]:
        """Return metadata for a commit: run_id, and versions and ids of the tables that its rows were computed from."""
        ids = {path: str(handle.metadata().id) for path, handle in self._handles.items()}
        read, ids_read = (json.dumps(mapping, sort_keys=True) for mapping in (self.versions, ids))
        return {"run_id": run_id, "read": read, "ids": ids_read}
