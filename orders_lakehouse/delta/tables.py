"""The writer and reader of the lake; nothing else in the project writes Delta.

Every overwrite carries a predicate, but for the one that gives a whole table other types (`schema_evolution.py`).
"""

import json
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, ClassVar, TypeVar

import narwhals as nw
import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from orders_lakehouse.contracts.raw import LINEAGE, number_columns
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.dates import bridged, days, spans
from orders_lakehouse.delta import object_store, table_cache
from orders_lakehouse.delta.object_store import LakeError, StorageUnavailableError
from orders_lakehouse.delta.schema_evolution import Migrated, as_contract, delta_fields, follow, migrate, require_types
from orders_lakehouse.delta.storage_errors import storage_trouble
from orders_lakehouse.delta.table_properties import Stamp

log = logging.getLogger(__name__)

# Writers of disjoint dates retry their commit on a newer log; the default of 15 loses under some thirty writers.
_COMMIT_RETRIES = 100
_COMMIT = CommitProperties(max_commit_retries=_COMMIT_RETRIES)
_ATTEMPTS = 20
# A table that is appended to has so many files at most before they become one.
_SMALL_FILES = 100
# Opening a table reads the commits since the last checkpoint of its log.
_CONFIGURATION = {"delta.checkpointInterval": "10"}
# A predicate of more than twenty dates that do not follow one another is not told apart from other dates: whoever
# writes one of those in the meantime would count as a conflict.
_STRETCHES = 20
# Of a stored row beside the new one; no column is named with a space.
_STORED = " stored"
# How many rows with the identity of a row there are beside it, itself included.
_OFFERED = "offered at once"
# A commit of more dates is put into the table's checkpoint at once: to open the table from there takes less time.
_LARGE_COMMIT = 200
# Rows that are in memory at once while a table without partitions becomes one file, and rows of a group in it: whoever
# looks for keys reads the groups that may have them.
_GROUP_ROWS = 100_000
# With properties that do not say otherwise, deltalake does not compress.
_IN_GROUPS = WriterProperties(compression="SNAPPY", max_row_group_size=_GROUP_ROWS)
# Rows of a table that are shown as a sample.
SAMPLED = 8
# So many times the rows that are to be compared: to look for those alike among them costs less than to hold them all.
_FAR_MORE = 2
# Of more rows, the writer gets a piece after the other: of all at once, it would make itself copies.
_IN_PIECES, _PIECE_ROWS = 400_000, 65_536
# What a commit says of itself that wrote rows anew and changed none.
COMPACTED = "compacted"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Lake:
    """The Delta tables under one root.

    Attributes:
        url: Directory or object store URL; a table lies at `<url>/<layer>/<name>`.
        timezone: Time zone in which dates are cut; written into every table.
        start: First partition; written into every table. None: that of the tables, whatever it is.
    """

    # A long range is worked through in portions that fit into memory.
    in_portions: ClassVar[bool] = True

    url: str
    timezone: str
    start: date | None = None

    def location(self, table: Table) -> str:
        """Where a table lies."""
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
        return self._opened(table, table_cache.shared)

    def _opened(self, table: Table, opened: Callable[[str], DeltaTable]) -> DeltaTable:
        location = self.location(table)
        try:
            with storage_trouble(location):
                handle = opened(location)
        except TableNotFoundError:
            handle = self._create(table)
        found, due = Stamp.on(handle), self._stamp_due(table)
        if found.timezone != due.timezone:
            raise LakeError(
                f"{table.path} was made with 'timezone={found.timezone}', the setting is 'timezone={due.timezone}'. "
                f"Dates in the lake do not move: set LAKEHOUSE_TIMEZONE back, or point LAKE_URL at an empty place and "
                "backfill."
            )
        if None not in (found.start, due.start) and found.start != due.start:
            raise LakeError(
                f"{table.path} begins on {found.start}, and LAKEHOUSE_START_DATE is {due.start}. Nothing was read or "
                f"written: set it back to {found.start}, or run `lakehouse migrate`, which moves the beginning to an "
                "earlier date."
            )
        if found.contract > due.contract:
            raise LakeError(
                f"{table.path} was written under version {found.contract} of its contract, by a newer program; "
                f"this one expects version {due.contract} at most. Nothing was read or written: upgrade the program."
            )
        if found.contract < due.contract:
            require_types(handle, table)
        return handle

    def _stamp_due(self, table: Table, found: Stamp | None = None) -> Stamp:
        """The stamp that a table is to have; its first partition stays where this lake names none."""
        return Stamp.due(table, self.timezone, self.start or (found.start if found else None))

    def migrate(self, table: Table) -> Migrated | None:
        """Bring a table that an older program made up to its contract; None where there is nothing to do.

        Raises:
            LakeError: It was made with another time zone, or by a newer program, or has a type that cannot be followed.
            StorageUnavailableError: Another writer was faster.
        """
        location = self.location(table)
        try:
            with storage_trouble(location):
                handle = table_cache.own(location)
        except TableNotFoundError:
            return None
        found = Stamp.on(handle)
        due = self._stamp_due(table, found)
        if found.contract >= due.contract:
            return None
        try:
            done = migrate(handle, table, due)
        except CommitFailedError as error:
            raise StorageUnavailableError(
                f"{table.path} was written while it was migrated: {error}. Stop what else is at work, then "
                "migrate again."
            ) from error
        table_cache.give(location, handle)
        return done

    def _open_to_write(self, table: Table, beside: Mapping[str, pl.DataType] | None = None) -> DeltaTable:
        """Open a table, and bring one of an older contract up to the present one: new columns, then its stamp.

        Args:
            table: The table.
            beside: Columns beside the contract's that it is to have.

        Raises:
            LakeError: A column has changed its type since: the table has to be migrated.
        """
        handle = self._opened(table, table_cache.own)
        found = Stamp.on(handle)
        due = self._stamp_due(table, found)
        if found != due:
            follow(handle, table, due)
        there = {field.name for field in handle.schema().fields}
        new = {name: dtype for name, dtype in (beside or {}).items() if name not in there}
        if new:
            with storage_trouble(self.location(table)):
                handle.alter.add_columns(delta_fields(new))
        return handle

    def _create(self, table: Table) -> DeltaTable:
        location = self.location(table)
        with storage_trouble(location):
            try:
                return DeltaTable.create(
                    location,
                    schema=pl.DataFrame(schema=table.schema).to_arrow().schema,
                    partition_by=[table.partitioned_by] if table.partitioned_by else None,
                    name=table.path,
                    description=str(self._stamp_due(table)),
                    configuration={**_CONFIGURATION, **_statistics(table)},
                    mode="error",
                    storage_options=object_store.options(location),
                    # Retried, the loser of a race would commit the table's making a second time.
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            except DeltaError as error:
                # Another process made it in the meantime; if not, something else went wrong.
                try:
                    return table_cache.own(location)
                except TableNotFoundError:
                    raise error from None

    def scan(
        self,
        table: Table,
        *,
        between: tuple[date, date] | None = None,
        dates: Sequence[date] | None = None,
    ) -> Frame:
        """Rows of a table, lazily.

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
        """Rows of some partitions of a table at the version of an open handle, lazily."""
        rows = self.rows_at(handle, table, bridged(spans(dates), _STRETCHES))
        return rows.filter(nw.col(str(table.partitioned_by)).is_in(list(dates)))

    def rows_at(self, handle: DeltaTable, table: Table, stretches: Sequence[tuple[date, date]] | None = None) -> Frame:
        """Rows of a table at the version of an open handle, lazily: the columns of its contract.

        Args:
            handle: The table, open.
            table: The table.
            stretches: Dates that are enough, by first and last one: others may be left out.
        """
        return nw.from_native(_rows(handle, table, stretches))

    def insert_new(self, table: Table, rows: pl.DataFrame, identity: Sequence[str]) -> int:
        """Insert the rows that are not there yet; what is there stays as it is.

        Of rows with one identity, the one that was captured last tells: a row that returns to what it was is new. Two
        racing inserts of a row leave one.

        Args:
            table: A table of raw. Only the partitions of `rows` are read.
            rows: The table's columns. Those beside the contract's are added to the table where it lacks them.
            identity: Columns by which versions of a row are told apart; they, the partition and all columns of the
                contract beside the lineage decide whether a row is there.

        Returns:
            Number of rows inserted.
        """
        beside = {name: dtype for name, dtype in rows.schema.items() if name not in table.schema}
        dates = rows[str(table.partitioned_by)].unique().sort().to_list()
        on = [str(table.partitioned_by), *identity]

        def insert() -> int:
            handle = self._open_to_write(table, beside)
            stored = self._standing(handle, table, rows, on, table.columns)
            new = _not_there(table, rows, stored, identity).select(*table.columns, *beside)
            if new.height:
                claims = _claiming(handle, "captured", map(str, dates), {})
                _write(handle, _in_order(new, table), mode="append", schema_mode="merge", commit_properties=claims)
                _checkpoint_if_large(handle, len(dates))
                table_cache.give(self.location(table), handle)
            return new.height

        return _again_on_conflict(insert) if dates else 0

    def replace_captured(
        self,
        table: Table,
        day: date,
        rows: pl.DataFrame,
        identity: Sequence[str],
        keep: Callable[[DeltaTable], tuple[pl.DataFrame, bool]],
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Replace a capture date of a raw table in one commit: by what is kept of it, and by the rows that it lacks.

        The table is not read but by `keep`, nor written anew for an older contract: its files may be damaged.

        Args:
            table: A table of raw.
            day: The partition.
            rows: Rows of the partition, as for `insert_new`.
            identity: As for `insert_new`.
            keep: Reads, of the table as it stands, the rows of the partition that stay, and says whether they are all.
                Where they are, and no row is added, nothing is written.

        Returns:
            The rows that were kept, and those that were added, with the table's columns.
        """
        partition = str(table.partitioned_by)

        def replace() -> tuple[pl.DataFrame, pl.DataFrame]:
            handle = self._opened(table, table_cache.own)
            there = {field.name for field in handle.schema().fields}
            wanted = {**table.schema, **rows.schema}
            new_columns = {name: dtype for name, dtype in wanted.items() if name not in there}
            if new_columns:
                with storage_trouble(self.location(table)):
                    handle.alter.add_columns(delta_fields(new_columns))
            stored = object_store.scan(handle).collect_schema()
            found, is_whole = keep(handle)
            kept = _with_columns(found, stored)
            known = rows_of(as_contract(nw.from_native(kept.lazy()), handle, table))
            new = _with_columns(_not_there(table, rows, known, identity), stored)
            if new.height or not is_whole:
                claims = _claiming(handle, "captured", [str(day)], {"recaptured": str(day)})
                predicate = _within(partition, [(day, day)])
                whole = pl.concat([kept, new])
                _write(handle, whole, mode="overwrite", predicate=predicate, commit_properties=claims)
                table_cache.give(self.location(table), handle)
            return known, new.select(table.columns)

        return _again_on_conflict(replace)

    def present(self, table: Table, rows: pl.DataFrame, identity: Sequence[str]) -> pl.DataFrame:
        """Those of the rows that stand in the table, found by partition and identity."""
        if rows.is_empty():
            return rows
        on = [str(table.partitioned_by), *identity]
        stored = self._standing(self.open(table), table, rows, on, on)
        return rows.join(stored, on=on, how="semi", nulls_equal=True)

    def _standing(
        self, handle: DeltaTable, table: Table, rows: pl.DataFrame, on: Sequence[str], columns: Sequence[str]
    ) -> pl.DataFrame:
        """Rows that stand on the dates of others, all that are alike in some columns, and perhaps more.

        Where far more stand there, those that are not alike are left out: memory does not grow with what a date holds.

        Args:
            handle: The table, open.
            table: The table.
            rows: The others, with `on`.
            on: The partition, and columns of identity.
            columns: Columns of the table to return.
        """
        dates = rows[on[0]].unique().sort().to_list()
        frame = self.scan_at(handle, table, dates)
        standing = files_of(handle, table).filter(pl.col("date").is_in(dates))["rows"].sum()
        if standing <= _FAR_MORE * rows.height:
            return rows_of(frame.select(columns))
        wanted = rows.lazy().select(on).unique()

        def alike(names: Sequence[str]) -> pl.DataFrame:
            native: pl.LazyFrame = nw.to_native(frame.select(names))
            return rows_of(nw.from_native(native.join(wanted, on=on, how="semi", nulls_equal=True)))

        found = alike(on)
        # Most often none is, and no other column need be read.
        if found.is_empty():
            return pl.DataFrame(schema={name: table.schema[name] for name in columns})
        return found if columns == on else alike(columns)

    def latest_date(self, table: Table, default: date | None = None) -> date:
        """The last partition that has rows, from the log alone; `default` when there is none.

        Raises:
            LakeError: There is none, and no default.
        """
        dates = files_of(self.open(table), table)["date"]
        latest = dates.max()
        found = latest if isinstance(latest, date) else default
        if found is None:
            raise LakeError(f"{table.path} is empty; materialize it for a date that has orders first")
        return found

    def append(self, table: Table, rows: pl.DataFrame) -> None:
        """Append rows as they are; for tables without partitions in which a row that stands twice is harmless.

        Each append adds a file; when there are many, they become one.
        """

        def append() -> None:
            handle = self._open_to_write(table)
            new = rows.select(table.columns)
            _write(handle, new, mode="append", writer_properties=_IN_GROUPS, commit_properties=_COMMIT)
            if len(handle.file_uris()) > _SMALL_FILES:
                compact(handle, table)
            table_cache.give(self.location(table), handle)

        if not rows.is_empty():
            _again_on_conflict(append)

    def snapshot(self, versions: Mapping[str, int] | None = None) -> "Snapshot":
        """The same lake, to read: it stands still.

        Args:
            versions: Version of some tables, by path; the others are read as they are when they are first asked for.
        """
        return Snapshot(self.url, self.timezone, self.start, dict(versions or {}))

    def source(self, versions: Mapping[str, int] | None = None) -> "Snapshot":
        """A snapshot to compute from, wherever dates are derived and checked."""
        return self.snapshot(versions)

    def replace_dates(
        self,
        tables: Sequence[Table],
        first: date,
        last: date,
        derive: Callable[["Lake"], Sequence[Frame]],
        run_id: str = "",
    ) -> list["Replaced"]:
        """Replace a range of dates of one or more tables by what `derive` makes of the stages before.

        The targets' handles are opened before `derive` reads anything, and the commits go through them: when somebody
        else wrote one of the dates in between, everything is read and derived again, so that a late writer never puts
        stale rows over fresh ones. Dates that come out as they stand are not written.

        Args:
            tables: Targets, partitioned by a date.
            first: First date.
            last: Last date.
            derive: Makes the new rows of each target, within the dates, from a lake that stands still.
            run_id: Run on whose behalf it is; the commit bears it, and the versions that `derive` read.

        Returns:
            What became of each target.
        """

        def replace() -> list[Replaced]:
            targets = [(table, self._open_to_write(table)) for table in tables]
            source = self.source()
            return self._put(targets, derive(source), (first, last), _told(source, run_id))

        return _again_on_conflict(replace)

    def replace_all(self, table: Table, derive: Callable[["Lake"], Frame], run_id: str = "") -> "Replaced":
        """Replace an unpartitioned table, with the same care as `replace_dates`."""

        def replace() -> Replaced:
            targets = [(table, self._open_to_write(table))]
            source = self.source()
            (done,) = self._put(targets, [derive(source)], None, _told(source, run_id))
            return done

        return _again_on_conflict(replace)

    def _put(
        self,
        targets: Sequence[tuple[Table, DeltaTable]],
        frames: Sequence[Frame],
        dates: tuple[date, date] | None,
        told: Mapping[str, str],
    ) -> list["Replaced"]:
        """Compute what is to stand in some tables, and write it through their handles, in order."""
        done = []
        for (table, handle), rows in zip(targets, collect(*frames), strict=True):
            done.append(_replace(handle, table, rows, dates, told))
            table_cache.give(self.location(table), handle)
        return done


@dataclass(frozen=True)
class Snapshot(Lake):
    """A lake that stands still: each table is read at one version, however often it is asked for.

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


@dataclass(frozen=True)
class Replaced:
    """What became of a table.

    Attributes:
        by_date: date (null for a table without dates), rows: of what stands now.
        sample: A few of the rows, the table's columns.
        changed: The dates that came out otherwise than they stood; null for a table without dates.
    """

    by_date: pl.DataFrame
    sample: pl.DataFrame
    changed: pl.Series

    @property
    def rows(self) -> int:
        """Rows that stand now."""
        return int(self.by_date["rows"].sum())


def _replace(
    handle: DeltaTable, table: Table, rows: pl.DataFrame, dates: tuple[date, date] | None, told: Mapping[str, str]
) -> Replaced:
    """Write the dates of `rows` that differ from what stands in a table; claim all of them."""
    rows = _conform(rows, table)
    column = table.partitioned_by
    within = pl.lit(True) if dates is None else pl.col(str(column)).is_between(*dates)
    if has_rows(handle, table, dates):
        standing = _rows(handle, table, dates and [dates])
        changed = _differing(standing.filter(within), rows.lazy(), table)
    else:
        changed = rows.select(date=day_of(table))["date"].unique().sort()
    claims = claims_on(handle, dates, changed, told)
    if changed.is_empty():
        _write(handle, rows.clear(), mode="append", commit_properties=claims)
    elif dates is None:
        _write(handle, rows, mode="overwrite", predicate="true", commit_properties=claims)
    else:
        stretches = bridged(spans(changed.filter(changed.is_between(*dates))), _STRETCHES) or [dates]
        day = pl.col(str(column))
        # A row that lies outside of the dates goes with them, for the predicate to refuse.
        is_meant = day.is_in(changed.implode(), nulls_equal=True)
        new = rows.filter(pl.any_horizontal(is_meant, *(day.is_between(first, last) for first, last in stretches)))
        predicate = _within(str(column), stretches)
        _write(handle, new, mode="overwrite", predicate=predicate, commit_properties=claims)
        _checkpoint_if_large(handle, len(changed))
    by_date = rows.group_by(date=day_of(table)).agg(rows=pl.len().cast(pl.Int64))
    return Replaced(by_date, sampled(rows), changed)


def sampled(rows: pl.DataFrame) -> pl.DataFrame:
    """The first of some rows, in memory of their own: a slice would hold all the rows that it was cut out of."""
    some = rows.select(pl.all().gather(range(min(SAMPLED, rows.height))))
    # In this form texts are copied; Polars shares the memory in which all of them lie.
    return pl.DataFrame(some.to_arrow(compat_level=pl.CompatLevel.oldest()))


def claims_on(
    handle: DeltaTable, dates: tuple[date, date] | None, changed: pl.Series, told: Mapping[str, str]
) -> CommitProperties:
    """A commit that replaces dates of a table (None: all of it), collides with others of them, and says what it did."""
    told = {**told, "dates": json.dumps(dates, default=str), "changed": _in_json(spans(changed.drop_nulls()))}
    return _claiming(handle, "replaced", ["all"] if dates is None else map(str, days(*dates)), told)


def day_of(table: Table) -> pl.Expr:
    """The partition of a row; null for a table without dates."""
    return pl.col(table.partitioned_by) if table.partitioned_by else pl.lit(None, pl.Date)


def _within(column: str, stretches: Iterable[tuple[date, date]]) -> str:
    """A predicate of the rows whose date lies in one of the stretches."""
    return " OR ".join(f"{column} BETWEEN '{first}' AND '{last}'" for first, last in stretches)


def has_rows(handle: DeltaTable, table: Table, dates: tuple[date, date] | None) -> bool:
    """Whether a table has rows of some dates, from its log alone."""
    files = files_of(handle, table)
    return not (files if dates is None else files.filter(pl.col("date").is_between(*dates))).is_empty()


def _differing(standing: pl.LazyFrame, rows: pl.LazyFrame, table: Table) -> pl.Series:
    """Partitions (null without any) that do not hold the same rows on both sides, by the sums of two hashes."""
    row = pl.struct(pl.all())
    sums = [
        frame.select(row.hash(1).alias("one"), row.hash(2).alias("other"), date=day_of(table))
        .group_by("date")
        .agg(pl.col("one", "other").sum(), rows=pl.len())
        for frame in (standing, rows)
    ]
    with storage_trouble(standing):
        before, after = pl.collect_all(sums, engine="streaming")
    return unequal_dates(before, after)


def unequal_dates(before: pl.DataFrame, after: pl.DataFrame) -> pl.Series:
    """Dates whose sums differ, or that only one side has: a date and its sums in each row."""
    either = [before.join(after, on=before.columns, how="anti", nulls_equal=True)]
    either.append(after.join(before, on=before.columns, how="anti", nulls_equal=True))
    return pl.concat(either)["date"].unique().sort()


def _in_json(stretches: Iterable[tuple[date, date]]) -> str:
    return json.dumps([[str(first), str(last)] for first, last in stretches])


def _told(source: Snapshot, run_id: str) -> dict[str, str]:
    """What a commit says of itself."""
    ids = {path: str(handle.metadata().id) for path, handle in source._handles.items()}
    read, ids_read = (json.dumps(of, sort_keys=True) for of in (source.versions, ids))
    return {"run_id": run_id, "read": read, "ids": ids_read}


def _rows(handle: DeltaTable, table: Table, stretches: Sequence[tuple[date, date]] | None = None) -> pl.LazyFrame:
    within = None if stretches is None else _within(str(table.partitioned_by), stretches) or "false"
    rows: pl.LazyFrame = nw.to_native(as_contract(nw.from_native(object_store.scan(handle, within)), handle, table))
    return rows


def _not_there(table: Table, rows: pl.DataFrame, stored: pl.DataFrame, identity: Sequence[str]) -> pl.DataFrame:
    """Those of the rows that differ from the stored row of their identity and partition that was captured last.

    A capture that comes late is compared with what was captured before it: its rows are older than the last ones. Where
    a key was captured as another number of rows than it comes as now, its rows are new: a key that came twice is one
    again once it is captured once.
    """
    on = [str(table.partitioned_by), *identity]
    content = [name for name in table.columns if name not in {*LINEAGE, *on}]
    compared = [_plain_number(name) if name in number_columns(table.model) else pl.col(name) for name in content]
    # Partitions that have nothing yet need no look.
    may_be_there = rows.lazy().with_row_index().filter(pl.col(on[0]).is_in(stored[on[0]].unique().implode()))
    offered = pl.len().over(on).alias(_OFFERED)
    new = may_be_there.select("index", *on, *compared, "captured_at", offered).collect()
    known = stored.select(*on, *compared, "captured_at")
    pairs = new.join(known, on=on, how="inner", nulls_equal=True, suffix=_STORED)
    then, now = pl.col(f"captured_at{_STORED}"), pl.col("captured_at")
    last_before = pl.coalesce(then.filter(then <= now).max(), then.min()).over("index")
    is_last = then == last_before
    is_as_often = (then == now) | (is_last.sum().over("index") == pl.col(_OFFERED))
    is_same = [pl.col(name).eq_missing(pl.col(f"{name}{_STORED}")) for name in content]
    there = pairs.filter(is_last, is_as_often, *is_same)["index"].unique()
    if there.is_empty():
        return rows
    return rows.filter(~pl.int_range(pl.len(), dtype=pl.UInt32).is_in(there.implode()))


def _plain_number(column: str) -> pl.Expr:
    """Text of one number: a source that gets more decimals writes 1.50 as 1.5000, which is no other version."""
    text = pl.col(column)
    plain = text.str.strip_chars_end("0").str.strip_chars_end(".")
    return pl.when(text.str.contains(".", literal=True)).then(plain).otherwise(text).alias(column)


def _statistics(table: Table) -> dict[str, str]:
    """Of which columns the log keeps statistics of each file: of those that rows are looked for by.

    A table without dates has few files; of one with dates, the log is read by whoever opens it, all of it.
    """
    if table.partitioned_by is None:
        return {}
    instants = [name for name, dtype in table.schema.items() if isinstance(dtype, pl.Datetime)]
    columns = [name for name in dict.fromkeys([*table.key, *instants]) if name != table.partitioned_by]
    return {"delta.dataSkippingStatsColumns": ",".join(columns)}


def _with_columns(rows: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Rows with the columns of a schema, in its types; nulls where they have none."""
    return rows.select(
        pl.col(name).cast(dtype) if name in rows.columns else pl.lit(None, dtype).alias(name)
        for name, dtype in schema.items()
    )


def _claiming(handle: DeltaTable, what: str, parts: Iterable[str], told: Mapping[str, str]) -> CommitProperties:
    """A commit that collides with every other one since `handle` was opened that claims one of the same parts.

    Delta compares files, and a date that somebody found empty and left empty has none; the claim leaves a trace.
    """
    version = handle.version() + 1
    claims = [Transaction(app_id=f"{what}/{part}", version=version) for part in parts]
    return CommitProperties(max_commit_retries=_COMMIT_RETRIES, app_transactions=claims, custom_metadata=dict(told))


def _write(handle: DeltaTable, rows: pl.DataFrame | pa.RecordBatchReader, **how: Any) -> None:
    if isinstance(rows, pl.DataFrame) and rows.height > _IN_PIECES:
        rows = _in_pieces(rows)
    with storage_trouble(handle.table_uri):
        write_deltalake(handle, rows, **how)


def _in_pieces(rows: pl.DataFrame) -> pa.RecordBatchReader:
    """The same rows, of which the writer holds a few at a time; texts are handed over as they lie in memory."""
    newest = pl.CompatLevel.newest()
    schema = rows.head(0).to_arrow(compat_level=newest).schema
    pieces = (piece.to_arrow(compat_level=newest) for piece in rows.iter_slices(_PIECE_ROWS))
    return pa.RecordBatchReader.from_batches(schema, (batch for piece in pieces for batch in piece.to_batches()))


def _checkpoint_if_large(handle: DeltaTable, dates: int) -> None:
    if dates > _LARGE_COMMIT:
        with storage_trouble(handle.table_uri):
            handle.create_checkpoint()


def compact(handle: DeltaTable, table: Table, groups: Sequence[Sequence[date]] = ()) -> bool:
    """Write rows anew into as few files as they need, in one commit, which says of itself that it changes no row.

    Not by `optimize.compact`: two that run at once both succeed there, and every row stands twice. Here one of two
    fails, and so does whoever read the files before and writes the same dates after: they read again.

    Args:
        handle: The table, to write.
        table: The table.
        groups: Dates to rewrite, as many at once as fit into memory; none for a table that has no dates.

    Returns:
        Whether it was done. When another writer was faster, the files stay as they are.
    """
    partition, stored = table.partitioned_by, object_store.scan(handle)
    schema = pl.DataFrame(schema=stored.collect_schema()).to_arrow().schema

    def frames() -> Iterator[pl.DataFrame]:
        if partition is None:
            yield from stored.collect_batches(chunk_size=_GROUP_ROWS, engine="streaming")
        for dates in groups:
            # What belongs together lies together, and a key is found by the statistics. In one batch: of several, the
            # writer keeps no order.
            some = stored.filter(pl.col(str(partition)).is_in(list(dates)))
            yield some.sort(str(partition), *table.key, maintain_order=True).collect().rechunk()

    batches = (batch for frame in frames() for batch in frame.to_arrow().cast(schema).to_batches())
    predicate = "true" if partition is None else _within(partition, spans(day for dates in groups for day in dates))
    claims = _claiming(handle, "compacted", ["all"], {COMPACTED: "true"})
    try:
        rows = pa.RecordBatchReader.from_batches(schema, batches)
        grouped = _IN_GROUPS if partition is None else None
        _write(handle, rows, mode="overwrite", predicate=predicate, writer_properties=grouped, commit_properties=claims)
    except CommitFailedError as error:
        log.info("another writer was faster, the files of %s stay as they are for now: %s", handle.table_uri, error)
        return False
    return True


def state_of(handle: DeltaTable) -> tuple[str, int]:
    """Id and version of a table: whoever finds the same ones finds the same rows."""
    return str(handle.metadata().id), handle.version()


def last_compaction(handle: DeltaTable) -> int | None:
    """A number that is another one after each compaction of a table; None before the first."""
    with storage_trouble(handle.table_uri):
        return handle.transaction_version("compacted/all")


def files_of(handle: DeltaTable, table: Table) -> pl.DataFrame:
    """The files of a table that hold rows, from the log alone.

    Returns:
        path, date (null where the table has no partitions), rows, bytes.
    """
    with storage_trouble(handle.table_uri):
        files = pl.DataFrame(handle.get_add_actions(flatten=True))
    if files.is_empty():
        return pl.DataFrame(schema={"path": pl.String, "date": pl.Date, "rows": pl.Int64, "bytes": pl.Int64})
    partition = pl.col(f"partition.{table.partitioned_by}") if table.partitioned_by else pl.lit(None, pl.String)
    return files.select("path", date=partition.cast(pl.Date), rows="num_records", bytes="size_bytes").filter(
        pl.col("rows") > 0
    )


def collect(*frames: Frame) -> list[pl.DataFrame]:
    """Run several plans at once; what they share is computed once. Of a cluster, all the rows come to this process."""
    if is_on_cluster(*frames):
        from orders_lakehouse.delta.engines import spark

        return [spark.rows_of_cluster(frame) for frame in frames]
    plans = [nw.to_native(frame) for frame in frames]
    with storage_trouble(*plans):
        return pl.collect_all(plans, engine="streaming")


def rows_of(frame: Frame) -> pl.DataFrame:
    """Run one plan."""
    (rows,) = collect(frame)
    return rows


def some_at_a_time(frame: Frame, number: int) -> Iterator[pl.DataFrame]:
    """Run one plan, and have so many of its rows at a time; all at once from a cluster."""
    if is_on_cluster(frame):
        yield rows_of(frame)
        return
    plan: pl.LazyFrame = nw.to_native(frame)
    with storage_trouble(plan):
        yield from plan.collect_batches(chunk_size=number, engine="streaming")


def keep(frame: Frame) -> Frame:
    """Compute a frame now, for plans that use it several times; what a cluster computes stays where it is."""
    return frame if is_on_cluster(frame) else fetch(frame)


def fetch(frame: Frame) -> Frame:
    """Compute a frame of few rows now, and have them in this process."""
    return nw.from_native(rows_of(frame).lazy())


def is_on_cluster(*frames: Frame) -> bool:
    """Whether frames are computed on a cluster."""
    return any(frame.implementation.is_spark_like() for frame in frames)


def _conform(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Columns in the table's order; an exact type or an error, never a silent cast (nulls of no type aside)."""
    ordered = rows.select(table.columns)
    if table.partitioned_by is not None:
        ordered = _in_order(ordered, table)
    wrong = [
        f"{name}: expected {expected}, found {found}"
        for (name, expected), found in zip(table.schema.items(), ordered.dtypes, strict=True)
        if found not in (expected, pl.Null)
    ]
    if wrong:
        raise LakeError(f"rows for {table.path} do not fit its contract: {'; '.join(wrong)}")
    return ordered.cast({name: dtype for name, dtype in table.schema.items() if ordered.schema[name] == pl.Null})


def _in_order(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Rows by partition: a writer that meets one after the other holds one open file, not one for each date."""
    partition = str(table.partitioned_by)
    return rows if rows[partition].is_sorted() else rows.sort(partition)


def _again_on_conflict(work: Callable[[], Result]) -> Result:
    for attempt in range(1, _ATTEMPTS):
        try:
            return work()
        except CommitFailedError as error:
            log.info("another writer was faster, deriving again (attempt %s): %s", attempt, error)
            time.sleep(random.uniform(0.05, 0.1) * min(attempt, 10))  # noqa: S311 (jitter, not a secret)
    try:
        return work()
    except CommitFailedError as error:
        raise StorageUnavailableError(
            f"other writers were faster {_ATTEMPTS} times in a row: {error}. Is something writing these dates for ever?"
        ) from error
