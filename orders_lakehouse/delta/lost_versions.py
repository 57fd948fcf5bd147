"""Find lost versions: versions of a table that others remember, but whose commits are gone from its log.

A table that has lost its last commits looks intact, because it is simply at an older version. But readers remember the
versions that they have read. Derived tables have them in their commits, the warehouse in a table next to its copies,
Dagster in metadata of runs and in the cursor of a sensor. A version older than the retention of the log is not lost.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

import narwhals as nw
import polars as pl
from deltalake import DeltaTable

from orders_lakehouse.contracts.raw import AHEAD_HOURS
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.dates import days, in_words
from orders_lakehouse.delta import mending
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import derivations, find
from orders_lakehouse.delta.log_files import committed_at, log_files
from orders_lakehouse.delta.mending import Dates
from orders_lakehouse.delta.object_store import is_s3
from orders_lakehouse.delta.storage_errors import explain_storage_errors
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.findings import ERROR, Finding
from orders_lakehouse.tables import CALENDAR, CLEANSED, CURATED, QUARANTINE, RAW, TABLES, cumulated_over

_BY_PATH = {table.path: table for table in TABLES}
# Number of latest commits of a derived table that are read; fewer in a bucket, where each is a request.
_COMMITS, _COMMITS_IN_BUCKET = 2_000, 50
# Largest difference between the clocks of writers and of readers that remember a version.
_SKEW = timedelta(minutes=1)
# Most readers of a version that a finding names.
_NAMED = 4


@dataclass(frozen=True)
class RememberedVersion:
    """A version of a table that a reader remembers.

    Attributes:
        by: Name of the reader, for people.
        at: Instant at which the version existed.
        path: Path of the table.
        version: The version.
        table_id: Id of the table; None where it is not known.
        is_shown: Whether the reader is a table made from the version, which shows its rows until it is derived again.
        copy: Name of the warehouse's copy that holds the version; None for other readers.
    """

    by: str
    at: datetime
    path: str
    version: int
    table_id: str | None = None
    is_shown: bool = False
    copy: str | None = None


def remembered_by_tables(lake: Lake) -> Iterator[RememberedVersion]:
    """Yield the versions that derived tables were last made from, by date; a table that cannot be opened is skipped."""
    for table in (*CLEANSED, *QUARANTINE, *CURATED):
        try:
            handle = find(lake, table)
            if handle is not None:
                yield from _remembered_by(handle, table)
        except ExpectedError:
            # The examination of each table reports this error.
            continue


def _remembered_by(handle: DeltaTable, table: Table) -> Iterator[RememberedVersion]:
    left = set(files_of(handle, table)["date"].drop_nulls())
    for derivation in derivations(handle, _COMMITS_IN_BUCKET if is_s3(handle.table_uri) else _COMMITS):
        dates = sorted(left.intersection(days(*derivation.dates))) if derivation.dates else []
        if table.partitioned_by is None or dates:
            left.difference_update(dates)
            for path, version in derivation.read.items():
                table_id = derivation.ids.get(path)
                yield RememberedVersion(table.path, derivation.at, path, version, table_id, is_shown=True)
        if not left:
            return


def lost_versions(lake: Lake, versions: Iterable[RememberedVersion], dates: Dates, schema: str) -> list[Finding]:
    """Return findings for tables that have lost versions that a reader remembers.

    Args:
        lake: The lake, read after all remembered versions were collected.
        versions: The remembered versions.
        dates: First and last date of the lake.
        schema: Schema of the copies in the warehouse.
    """
    by_path: dict[str, list[RememberedVersion]] = {}
    for remembered in versions:
        by_path.setdefault(remembered.path, []).append(remembered)
    findings: list[Finding] = []
    for path, names in by_path.items():
        table = _BY_PATH.get(path)
        if table is None:
            continue
        try:
            handle = find(lake, table)
            with explain_storage_errors(lake.location(table)):
                findings += (
                    _missing_table_findings(lake, table, names, dates, schema)
                    if handle is None
                    else _lost_version_findings(lake, handle, table, names, dates, schema)
                )
        except ExpectedError:
            # The log is damaged or the storage fails; the examination of each table reports it.
            continue
    return findings


def _missing_table_findings(
    lake: Lake, table: Table, names: Sequence[RememberedVersion], dates: Dates, schema: str
) -> list[Finding]:
    to_do = f"{mending.FROM_BACKUP} Without a backup, make its rows again.{_price(table)}"
    found, expected = "there is no such table", f"the versions that readers remember: {_remembered(names)}"
    return [Finding(ERROR, table.path, found, expected, to_do, _commands(lake, table, names, dates, schema))]


def _lost_version_findings(
    lake: Lake, handle: DeltaTable, table: Table, names: Sequence[RememberedVersion], dates: Dates, schema: str
) -> list[Finding]:
    location, table_id, latest = lake.location(table), str(handle.metadata().id), handle.version()
    log = log_files(location)

    @cache
    def is_later(version: int, at: datetime) -> bool:
        """Return whether a version was committed after an instant; the commit is read only if its file is younger."""
        written = log.written.get(version)
        if written is None or written <= at:
            return False
        committed = committed_at(location, version)
        return committed is not None and committed > at

    same = [name for name in names if name.table_id in (None, table_id)]
    lost = [name for name in same if name.version > latest and not is_later(latest, name.at)]
    if lost:
        return [
            Finding(
                ERROR,
                table.path,
                f"its last version is {latest}; later ones are gone",
                f"the versions that readers remember: {_remembered(lost)}",
                f"The last commits of its log are lost. {mending.FROM_BACKUP} Without a backup, make their rows "
                f"again.{_price(table)}",
                _commands(lake, table, names, dates, schema),
            )
        ]
    # Only tables and copies made from lost rows are reported, because they still show them. A reader that remembers
    # just a number corrects itself at its next look.
    of_replaced_table = [name for name in names if name.is_shown and name.table_id not in (None, table_id)]
    of_reused_version = [name for name in same if name.is_shown and name.version > latest]
    of_reused_version += [
        name
        for name in same
        if (name.is_shown or name.copy)
        and name.table_id
        and name.version <= latest
        and is_later(name.version, name.at + _SKEW)
    ]
    stale = [*of_replaced_table, *of_reused_version]
    if not stale or table is CALENDAR:
        return []
    return [
        Finding(
            ERROR,
            table.path,
            "it has lost versions and was written to since, so that new versions have their numbers",
            f"the versions that readers were made from: {_remembered(stale)}",
            f"Make the lost rows again, and the tables made from them.{_price(table)}",
            _commands(lake, table, stale, dates, schema),
        )
    ]


def _price(table: Table) -> str:
    return f" {mending.OVERWRITTEN}" if table in RAW else ""


def _remembered(names: Sequence[RememberedVersion]) -> str:
    latest = {name.by: name for name in sorted(names, key=lambda name: name.version)}
    ordered = sorted(latest.values(), key=lambda name: (-name.version, name.by))
    parts = [f"version {name.version} by {name.by} at {name.at:%Y-%m-%d %H:%M} UTC" for name in ordered[:_NAMED]]
    more = [f"and {len(ordered) - _NAMED} more"] if len(ordered) > _NAMED else []
    return ", ".join([*parts, *more])


def _commands(lake: Lake, table: Table, names: Sequence[RememberedVersion], dates: Dates, schema: str) -> list[str]:
    # Copies are loaded whole again, because a reused version number looks to them like the version that they know.
    copies = sorted({name.copy for name in names if name.copy is not None})
    sums = [mending.remove_folder(lake.location(of)) for of in cumulated_over(table)]
    return [*(mending.forget_copy(name, schema) for name in copies), *sums, *mending.remake(table, dates)]


def lost_rows(lake: Lake, counted: pl.DataFrame, dates: Dates) -> list[Finding]:
    """Return findings for raw tables with fewer rows on a capture date than were counted; raw never loses rows.

    Args:
        lake: The lake.
        counted: asset, date, rows: number of rows in raw at the last count.
        dates: First and last date of the lake.
    """
    findings: list[Finding] = []
    for table in RAW:
        try:
            handle = find(lake, table)
            fewer = _fewer(lake, handle, table, counted.filter(pl.col("asset") == table.path))
        except ExpectedError:
            continue
        if fewer.height:
            stored, expected = int(fewer["stored"].sum()), int(fewer["rows"].sum())
            findings.append(
                Finding(
                    ERROR,
                    table.path,
                    f"{stored:,} rows on {in_words(fewer['date'])}",
                    f"at least {expected:,}, the number when their capture was checked",
                    f"Rows of raw are lost. {mending.FROM_BACKUP} Without a backup, capture them again from the shop. "
                    f"{mending.OVERWRITTEN}",
                    mending.remake(table, dates),
                )
            )
    return findings


def _fewer(lake: Lake, handle: DeltaTable | None, table: Table, counted: pl.DataFrame) -> pl.DataFrame:
    """Return date, rows, stored: dates of a raw table with fewer stored rows than were counted."""
    files = pl.DataFrame(schema={"date": pl.Date, "rows": pl.Int64}) if handle is None else files_of(handle, table)
    stored = files.group_by("date").agg(stored=pl.col("rows").sum())
    fewer = counted.join(stored, on="date", how="left").with_columns(pl.col("stored").fill_null(0))
    fewer = fewer.filter(pl.col("stored") < pl.col("rows")).sort("date")
    if handle is None or fewer.is_empty():
        return fewer
    # A version whose clock runs ahead is counted on the date of its clock, but stored on the date of its first capture.
    # If the lake was extended to an earlier start, rows moved to dates before all counted dates.
    is_ahead = nw.col("updated_at") > nw.col("captured_at").dt.offset_by(f"{AHEAD_HOURS}h")
    elsewhere = rows_of(lake.rows_at(handle, table).filter(is_ahead).select(nw.len())).item()
    elsewhere += stored.filter(pl.col("date") < counted["date"].min())["stored"].sum()
    return fewer if (fewer["rows"] - fewer["stored"]).sum() > elsewhere else fewer.clear()
