"""Versions of a table that are gone although something remembers them: the last commits of its log were lost.

Delta numbers versions one by one, so a table that has lost its last commits says nothing of it: it is as it was. But
others remember what they read: derived tables in their commits, the warehouse beside its copies, Dagster in what runs
have told and in the cursor of a sensor. A version that is older than the log is kept is no loss.
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
from orders_lakehouse.delta.log import find, made_of
from orders_lakehouse.delta.log_files import committed_at, log_files
from orders_lakehouse.delta.mending import Dates
from orders_lakehouse.delta.object_store import is_s3
from orders_lakehouse.delta.storage_errors import storage_trouble
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.findings import ERROR, Finding
from orders_lakehouse.tables import CALENDAR, CLEANSED, CURATED, QUARANTINE, RAW, TABLES, cumulated_over

_BY_PATH = {table.path: table for table in TABLES}
# Commits of a derived table that are looked at, the latest ones: in a bucket, each is a request.
_COMMITS, _COMMITS_IN_BUCKET = 2_000, 50
# The clocks of those who commit and of those who remember differ by less.
_SKEW = timedelta(minutes=1)
# Who remembers a version, as far as a finding names them.
_NAMED = 4


@dataclass(frozen=True)
class Named:
    """A version of a table that somebody remembers.

    Attributes:
        by: Who, in words.
        at: When the version was there.
        path: The table.
        version: Its version.
        table_id: Its id; None where that is not known.
        is_shown: Whether it is a table that was made of the version, and shows its rows until it is made again.
        copy: Name of the warehouse's copy that holds the version; None for others.
    """

    by: str
    at: datetime
    path: str
    version: int
    table_id: str | None = None
    is_shown: bool = False
    copy: str | None = None


def named_by_tables(lake: Lake) -> Iterator[Named]:
    """The versions that derived tables were made of last, date by date; a table that cannot be opened names none."""
    for table in (*CLEANSED, *QUARANTINE, *CURATED):
        try:
            handle = find(lake, table)
            if handle is not None:
                yield from _named_by(handle, table)
        except ExpectedError:
            # What is wrong with it is told where tables are looked at.
            continue


def _named_by(handle: DeltaTable, table: Table) -> Iterator[Named]:
    left = set(files_of(handle, table)["date"].drop_nulls())
    for made in made_of(handle, _COMMITS_IN_BUCKET if is_s3(handle.table_uri) else _COMMITS):
        dates = sorted(left.intersection(days(*made.dates))) if made.dates else []
        if table.partitioned_by is None or dates:
            left.difference_update(dates)
            for path, version in made.read.items():
                yield Named(table.path, made.at, path, version, made.ids.get(path), is_shown=True)
        if not left:
            return


def lost_versions(lake: Lake, named: Iterable[Named], dates: Dates, schema: str) -> list[Finding]:
    """Tables that have lost versions which somebody remembers.

    Args:
        lake: The lake, as it is after all was named.
        named: What is remembered.
        dates: First and last date of the lake.
        schema: Of the copies in the warehouse.
    """
    by_path: dict[str, list[Named]] = {}
    for one in named:
        by_path.setdefault(one.path, []).append(one)
    findings: list[Finding] = []
    for path, names in by_path.items():
        table = _BY_PATH.get(path)
        if table is None:
            continue
        try:
            handle = find(lake, table)
            with storage_trouble(lake.location(table)):
                findings += (
                    _gone(lake, table, names, dates, schema)
                    if handle is None
                    else _of_table(lake, handle, table, names, dates, schema)
                )
        except ExpectedError:
            # Its log is damaged, or the storage fails: told where tables are looked at.
            continue
    return findings


def _gone(lake: Lake, table: Table, names: Sequence[Named], dates: Dates, schema: str) -> list[Finding]:
    to_do = f"{mending.FROM_BACKUP} Without a backup, make it again.{_price(table)}"
    found, expected = "there is no such table", f"what others remember: {_remembered(names)}"
    return [Finding(ERROR, table.path, found, expected, to_do, _commands(lake, table, names, dates, schema))]


def _of_table(
    lake: Lake, handle: DeltaTable, table: Table, names: Sequence[Named], dates: Dates, schema: str
) -> list[Finding]:
    location, table_id, latest = lake.location(table), str(handle.metadata().id), handle.version()
    there = log_files(location)

    @cache
    def is_later(version: int, at: datetime) -> bool:
        """Whether a version was committed after an instant; the commit is read only where its file is younger."""
        written = there.written.get(version)
        if written is None or written <= at:
            return False
        committed = committed_at(location, version)
        return committed is not None and committed > at

    same = [one for one in names if one.table_id in (None, table_id)]
    lost = [one for one in same if one.version > latest and not is_later(latest, one.at)]
    if lost:
        return [
            Finding(
                ERROR,
                table.path,
                f"its last version is {latest}; later ones are gone",
                f"what others remember: {_remembered(lost)}",
                f"The last commits of its log are lost. {mending.FROM_BACKUP} Without a backup, make again what they "
                f"held.{_price(table)}",
                _commands(lake, table, names, dates, schema),
            )
        ]
    # Whoever only remembers a number learns by the next look; what was made of rows that are gone shows them still.
    other = [one for one in names if one.is_shown and one.table_id not in (None, table_id)]
    anew = [one for one in same if one.is_shown and one.version > latest]
    anew += [
        one
        for one in same
        if (one.is_shown or one.copy)
        and one.table_id
        and one.version <= latest
        and is_later(one.version, one.at + _SKEW)
    ]
    stale = [*other, *anew]
    if not stale or table is CALENDAR:
        return []
    return [
        Finding(
            ERROR,
            table.path,
            "it has lost versions and was written to since, so that their numbers stand for other rows now",
            f"what others were made of: {_remembered(stale)}",
            f"Make again what it held, and what was made of that.{_price(table)}",
            _commands(lake, table, stale, dates, schema),
        )
    ]


def _price(table: Table) -> str:
    return f" {mending.OVERWRITTEN}" if table in RAW else ""


def _remembered(names: Sequence[Named]) -> str:
    latest = {one.by: one for one in sorted(names, key=lambda one: one.version)}
    ordered = sorted(latest.values(), key=lambda one: (-one.version, one.by))
    told = [f"version {one.version} by {one.by} at {one.at:%Y-%m-%d %H:%M} UTC" for one in ordered[:_NAMED]]
    more = [f"and {len(ordered) - _NAMED} more"] if len(ordered) > _NAMED else []
    return ", ".join([*told, *more])


def _commands(lake: Lake, table: Table, names: Sequence[Named], dates: Dates, schema: str) -> list[str]:
    # Whoever looks for what has changed since would take a number that is given anew for the version that it knows.
    copies = sorted({one.copy for one in names if one.copy is not None})
    sums = [mending.remove_folder(lake.location(of)) for of in cumulated_over(table)]
    return [*(mending.forget_copy(name, schema) for name in copies), *sums, *mending.again(table, dates)]


def lost_rows(lake: Lake, counted: pl.DataFrame, dates: Dates) -> list[Finding]:
    """Raw tables that have fewer rows on a capture date than were counted there: rows of raw never go.

    Args:
        lake: The lake.
        counted: asset, date, rows: what stood in raw when it was last counted.
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
            found, expected = int(fewer["there"].sum()), int(fewer["rows"].sum())
            findings.append(
                Finding(
                    ERROR,
                    table.path,
                    f"{found:,} rows on {in_words(fewer['date'])}",
                    f"at least {expected:,}, as many as stood there when their capture was checked",
                    f"Rows of raw are lost. {mending.FROM_BACKUP} Without a backup, take them again from the shop. "
                    f"{mending.OVERWRITTEN}",
                    mending.again(table, dates),
                )
            )
    return findings


def _fewer(lake: Lake, handle: DeltaTable | None, table: Table, counted: pl.DataFrame) -> pl.DataFrame:
    """Date, rows, there: dates of a raw table on which fewer rows stand than were counted."""
    files = pl.DataFrame(schema={"date": pl.Date, "rows": pl.Int64}) if handle is None else files_of(handle, table)
    there = files.group_by("date").agg(there=pl.col("rows").sum())
    fewer = counted.join(there, on="date", how="left").with_columns(pl.col("there").fill_null(0))
    fewer = fewer.filter(pl.col("there") < pl.col("rows")).sort("date")
    if handle is None or fewer.is_empty():
        return fewer
    # A version whose clock runs ahead is counted on the date of its clock, and stands on that of its first capture.
    # Where the lake was made to begin earlier, rows moved to dates before all that were counted.
    is_ahead = nw.col("updated_at") > nw.col("captured_at").dt.offset_by(f"{AHEAD_HOURS}h")
    elsewhere = rows_of(lake.rows_at(handle, table).filter(is_ahead).select(nw.len())).item()
    elsewhere += there.filter(pl.col("date") < counted["date"].min())["there"].sum()
    return fewer if (fewer["rows"] - fewer["there"]).sum() > elsewhere else fewer.clear()
