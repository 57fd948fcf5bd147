"""The lake: its tables by name, to read them and to write to them; whoever opens a table opens it here.

What is written and how is in `writer.py` and `engines/`; the log's versions and commits are in `log.py`.
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
from orders_lakehouse.delta.commits import again_on_conflict
from orders_lakehouse.delta.date_predicates import few_spans
from orders_lakehouse.delta.engines.base import Engine
from orders_lakehouse.delta.engines.choice import engine_of
from orders_lakehouse.delta.engines.polars import POLARS
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.replaced import Replaced
from orders_lakehouse.delta.schema_evolution import Migrated
from orders_lakehouse.delta.storage_errors import storage_trouble
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.table_properties import TableProperties

Result = TypeVar("Result")


@dataclass(frozen=True)
class Lake:
    """The Delta tables under one root.

    Attributes:
        url: Directory or object store URL; a table lies at `<url>/<layer>/<name>`.
        timezone: Time zone in which dates are cut; written into every table.
        start: First partition; written into every table. None: that of the tables, whatever it is.
        engine: Derives dates. To look at tables (`scan`) this process is enough.
    """

    url: str
    timezone: str
    start: date | None = None
    engine: Engine = POLARS

    def location(self, table: Table) -> str:
        """Return where a table lies."""
        return f"{self.url}/{table.path}"

    def find(self, table: Table, version: int | None = None) -> DeltaTable:
        """Open a table as it is, at its latest version or at another one, to read it.

        Raises:
            TableNotFoundError: Nobody has made it.
            LakeError: Its storage cannot be used, or its log is damaged.
            StorageUnavailableError: Its storage does not answer.
        """
        location = self.location(table)
        with storage_trouble(location):
            return table_cache.shared(location, version)

    def open(self, table: Table) -> DeltaTable:
        """Open a table to read it, creating it when it is not there.

        Raises:
            LakeError: The table was made with another time zone or first partition, or by a program with a newer
                contract.
        """
        return opening.opened(self.location(table), table, self._expected(table), table_cache.shared)

    def migrate(self, table: Table) -> Migrated | None:
        """Bring a table that an older program made up to its contract; None where there is nothing to do.

        Raises:
            LakeError: It was made with another time zone, or by a newer program, or has a type that cannot be followed.
            StorageUnavailableError: Another writer was faster.
        """
        return opening.migrated(self.location(table), table, self._expected(table))

    def _expected(self, table: Table) -> TableProperties:
        return TableProperties.expected(table, self.timezone, self.start)

    def _open_to_write(self, table: Table, extra: Mapping[str, pl.DataType] | None = None) -> DeltaTable:
        return opening.opened_to_write(self.location(table), table, self._expected(table), extra)

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
            dates: Partitions to read, alternatively.

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
            spans: First and last date of spans that are enough: other dates may be left out.
        """
        return POLARS.scan(handle, table, spans)

    def latest_date(self, table: Table, default: date | None = None) -> date:
        """Return the last partition that has rows, from the log alone; `default` when there is none.

        Raises:
            LakeError: There is none, and no default.
        """
        dates = files_of(self.open(table), table)["date"]
        latest = dates.max()
        found = latest if isinstance(latest, date) else default
        if found is None:
            raise LakeError(f"{table.path} is empty; materialize it for a date that has orders first")
        return found

    def insert_new(self, table: Table, rows: pl.DataFrame, identity: Sequence[str]) -> int:
        """Insert the rows that are not there yet; what is there stays as it is.

        A row is compared with the one of its identity that was captured last: a row that returns to what it was is new.
        Two racing inserts of a row leave one.

        Args:
            table: A table of raw. Only the partitions of `rows` are read.
            rows: The table's columns. Those that the contract lacks are added to the table.
            identity: Columns by which versions of a row are told apart; they, the partition and all columns of the
                contract beside the lineage decide whether a row is there.

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
        """Replace a capture date of a raw table in one commit: by what is kept of it, and by the rows that it lacks.

        Only `keep` reads the table, and an older contract is not followed: its files may be damaged.

        Args:
            table: A table of raw.
            day: The partition.
            rows: Rows of the partition, as for `insert_new`.
            identity: As for `insert_new`.
            keep: Reads, of the table as it stands, the rows of the partition that stay, and says whether they are all.
                If they are all, and no row is added, nothing is written.

        Returns:
            The rows that were kept, and those that were added, with the table's columns.
        """

        def open_as_it_is() -> DeltaTable:
            return opening.opened(self.location(table), table, self._expected(table), table_cache.own)

        def replace(handle: DeltaTable) -> tuple[pl.DataFrame, pl.DataFrame]:
            return writer.replace_captured(handle, table, day, rows, identity, keep)

        return self._write(table, open_as_it_is, replace)

    def append(self, table: Table, rows: pl.DataFrame) -> None:
        """Append rows as they are; for tables without partitions in which a row that stands twice is harmless.

        Each append adds a file; when there are many, they become one.
        """
        if not rows.is_empty():
            self._write(table, lambda: self._open_to_write(table), lambda handle: writer.append(handle, table, rows))

    def _write(
        self, table: Table, open_handle: Callable[[], DeltaTable], write: Callable[[DeltaTable], Result]
    ) -> Result:
        """Write through a handle of one's own and let others read through it; again when another writer was faster."""

        def attempt() -> Result:
            handle = open_handle()
            result = write(handle)
            table_cache.give(self.location(table), handle)
            return result

        return again_on_conflict(attempt)

    def present(self, table: Table, rows: pl.DataFrame, identity: Sequence[str]) -> pl.DataFrame:
        """Return those of the rows that stand in the table, found by partition and identity."""
        return rows if rows.is_empty() else writer.present(self.open(table), table, rows, identity)

    def snapshot(self, versions: Mapping[str, int] | None = None) -> "Snapshot":
        """Return the same lake, to look at: it stands still.

        Args:
            versions: Version of some tables, by path; the others are read as they are when they are first asked for.
        """
        return Snapshot(self.url, self.timezone, self.start, POLARS, dict(versions or {}))

    def source(self, versions: Mapping[str, int] | None = None) -> "Snapshot":
        """Return a snapshot to compute from, read by the lake's engine: for whoever derives dates and checks them."""
        return Snapshot(self.url, self.timezone, self.start, self.engine, dict(versions or {}))

    def replace_dates(
        self,
        tables: Sequence[Table],
        first: date,
        last: date,
        derive: Callable[["Lake"], Sequence[Frame]],
        run_id: str = "",
    ) -> list[Replaced]:
        """Replace a range of dates of one or more tables by what `derive` makes of the stages before.

        The targets' handles are opened before `derive` reads anything, and the commits go through them: when somebody
        else wrote one of the dates in between, everything is read and derived again, so that a late writer never puts
        stale rows over fresh ones. Dates that come out as they stand are not written.

        Args:
            tables: Targets, partitioned by a date.
            first: First date.
            last: Last date.
            derive: Makes the new rows of each target, within the dates, from a lake that stands still.
            run_id: The run that replaces them; the commit names it, and the versions that `derive` read.

        Returns:
            What became of each target.
        """

        def replace() -> list[Replaced]:
            targets = [(table, self._open_to_write(table)) for table in tables]
            source = self.source()
            frames = derive(source)
            return self._replace(targets, frames, (first, last), source.read_metadata(run_id))

        return again_on_conflict(replace)

    def replace_all(self, table: Table, derive: Callable[["Lake"], Frame], run_id: str = "") -> Replaced:
        """Replace an unpartitioned table, with the same care as `replace_dates`."""

        def replace() -> Replaced:
            targets = [(table, self._open_to_write(table))]
            source = self.source()
            frames = [derive(source)]
            (replaced,) = self._replace(targets, frames, None, source.read_metadata(run_id))
            return replaced

        return again_on_conflict(replace)

    def _replace(
        self,
        targets: Sequence[tuple[Table, DeltaTable]],
        frames: Sequence[Frame],
        dates: tuple[date, date] | None,
        metadata: Mapping[str, str],
    ) -> list[Replaced]:
        """Replace dates of some tables through their handles, in order, on the engine that computes the frames."""
        results = []
        replaced = engine_of(*frames).replace(targets, frames, dates, metadata)
        for (table, handle), result in zip(targets, replaced, strict=True):
            table_cache.give(self.location(table), handle)
            results.append(result)
        return results


@dataclass(frozen=True)
class Snapshot(Lake):
    """A lake that stands still: each table is read at one version, however often it is asked for.

    Its rows are scanned by its engine.

    Attributes:
        versions: Version of each table that is known so far, by path.
    """

    versions: dict[str, int] = field(default_factory=dict)
    _handles: dict[str, DeltaTable] = field(default_factory=dict, compare=False, repr=False)

    def open(self, table: Table) -> DeltaTable:
        """Open a table at its version; at its first use, one that has none is taken as it is."""
        handle = self._handles.get(table.path)
        if handle is None:
            handle = super().open(table)
            version = self.versions.setdefault(table.path, handle.version())
            if version != handle.version():
                handle = self.find(table, version)
            self._handles[table.path] = handle
        return handle

    def find(self, table: Table, version: int | None = None) -> DeltaTable:
        """Open a table to read it, at its version here unless another one is asked for."""
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
        """Return what a commit says of what its rows were computed from: run_id, and versions and ids of tables."""
        ids = {path: str(handle.metadata().id) for path, handle in self._handles.items()}
        read, ids_read = (json.dumps(of, sort_keys=True) for of in (self.versions, ids))
        return {"run_id": run_id, "read": read, "ids": ids_read}
