"""Replace the rows of a copy: all of them, or those that changed on some dates.

`load` decides which copy is loaded and from which version, and records the result.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

import narwhals as nw
import polars as pl
from deltalake import DeltaTable

from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.delta.batches import batch_spans, row_limit
from orders_lakehouse.delta.frames import row_batches, rows_of
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.row_widths import counted_rows
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.postgres.connections import connect
from orders_lakehouse.warehouse.copies import Copy, lake_schema
from orders_lakehouse.warehouse.ingest import ingest
from orders_lakehouse.warehouse.ownership import register, second_half_table

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

log = logging.getLogger(__name__)

# Frame to copy, and number of its rows to copy at once; None: all of them.
_Rows = tuple[Frame, int | None]

# Rows in memory at once while a table is loaded, for each of the compared versions.
_CHUNK_ROWS = 400_000
# Largest share of a date's rows that are replaced one by one; above it, the whole date is replaced.
_FEW = 0.2


@dataclass(frozen=True)
class Copied:
    """The outcome of copying: the number of rows, and changes in the counts of keys (frames of key, rows)."""

    rows: int
    keys: list[pl.DataFrame]


def replace_all(cursor: "Cursor", lake: Lake, copy: Copy, handle: DeltaTable) -> Copied:
    """Replace all rows of a copy; its index is dropped, and the caller creates it again."""
    cursor.execute(
        "SELECT indexrelid::regclass::text FROM pg_index "
        f"WHERE indexrelid = to_regclass('{lake_schema()}.{index_of(copy)}') "
        f"AND indrelid = '{lake_schema()}.{copy.name}'::regclass"
    )
    for (index,) in cursor.fetchall():
        cursor.execute(f"DROP INDEX {index}")
    cursor.execute(f"TRUNCATE {', '.join(f'{lake_schema()}.{name}' for name in (copy.name, copy.keys) if name)}")
    chunks = [(lake.scan_at(handle, copy.table, chunk.dates), chunk.at_once) for chunk in _chunks(copy, [handle])]
    return (_copy_by_two if len(chunks) > 1 else _copy)(cursor, chunks, copy)


def index_of(copy: Copy) -> str:
    """Return the name of the index on the date column of a copy."""
    return f"{copy.name}_{copy.partition}"


def replace_changed(
    cursor: "Cursor", lake: Lake, copy: Copy, versions: tuple[DeltaTable, DeltaTable], dates: Sequence[date]
) -> Copied | None:
    """Replace the rows that changed on some dates between the version of the copy and another one.

    If few rows of a date changed, only these are replaced. A rewritten date would leave as many dead rows as new ones,
    and these slow down readers of the date until the server removes them.

    Returns:
        The outcome; None if the rows in the copy are not those of its recorded version.
    """
    copied, keys, is_known = 0, [], True
    for chunk, _ in _chunks(copy, versions, dates):
        then, now = (lake.scan_at(handle, copy.table, chunk) for handle in versions)
        rows = _as_copied(now, copy)
        before = _old_rows(then, copy) if is_known else None
        is_known = before is not None
        changed, whole = (rows.clear(), chunk) if before is None else _to_replace(before, rows, copy)
        on_whole = pl.col(copy.partition).is_in(whole)
        if whole:
            keys.append(_remove(cursor, copy, f"FROM {_stored(copy)} WHERE {_of_dates(copy, whole)}"))
        if changed.height:
            keys.append(_remove_keys(cursor, copy, changed))
        new = pl.concat([rows.filter(on_whole), rows.join(changed, on=changed.columns, how="semi")])
        keys.append(_ingest(cursor, new, copy))
        copied += new.height
        if _rows_by_date(cursor, copy, chunk) != dict(rows.group_by(copy.partition).len().iter_rows()):
            log.warning("Another program has changed rows of %s.%s: loading it whole", lake_schema(), copy.name)
            return None
    return Copied(copied, keys)


class _Chunk(NamedTuple):
    """Dates that are copied together, and the number of their rows to copy at once; None: all of them."""

    dates: list[date]
    at_once: int | None


def _chunks(copy: Copy, handles: Sequence[DeltaTable], dates: Sequence[date] | None = None) -> Iterator[_Chunk]:
    """Yield the dates to copy, or all dates, in groups that are of bounded size at each of the versions."""
    counts = [counted_rows(handle, copy.table, copy.types) for handle in handles]
    largest = pl.concat(counts).group_by("date").agg(pl.col("rows", "counted").max())
    selected = largest if dates is None else largest.filter(pl.col("date").is_in(list(dates)))
    counted, limit = dict(selected.select("date", "counted").iter_rows()), row_limit(_CHUNK_ROWS)
    if counted:
        rows = dict(selected.select("date", "rows").iter_rows())
        for first, last in batch_spans(counted, min(counted), max(counted), limit):
            chunk = [day for day in counted if first <= day <= last]
            held = sum(counted[day] for day in chunk)
            # A single date above the limit is copied in parts.
            at_once = max(1, limit * sum(rows[day] for day in chunk) // held) if held > limit else None
            yield _Chunk(chunk, at_once)


def _old_rows(then: Frame, copy: Copy) -> pl.DataFrame | None:
    """Return rows of an older version in the columns of the copy; None if its files can no longer be read."""
    try:
        return _as_copied(then, copy)
    except (FileNotFoundError, LakeError) as error:
        # Another program has vacuumed the table. If the present version cannot be read either, reading it raises.
        log.warning("The old version of %s cannot be read, copying whole dates: %s", copy.table.path, error)
        return None


def _to_replace(before: pl.DataFrame, rows: pl.DataFrame, copy: Copy) -> tuple[pl.DataFrame, list[date]]:
    """Return what to replace so that some dates get the rows `rows`.

    Args:
        before: Rows of the dates in the copy.
        rows: Rows that the dates must have.
        copy: The copy.

    Returns:
        Rows to replace, as unique pairs of partition and key; and dates to replace as a whole. These are dates with
        many changed rows, with a key that occurs more than once, or with a deleted row without a key.
    """
    on = [copy.partition, *(name for name in copy.table.key if name != copy.partition)]
    pairs = ((rows, before), (before, rows))
    unmatched = [left.join(right, on=left.columns, how="anti", nulls_equal=True).select(on) for left, right in pairs]
    changed = pl.concat(unmatched).unique()
    counts = changed.group_by(copy.partition).agg(changed=pl.len())
    counts = counts.join(before.group_by(copy.partition).agg(rows=pl.len()), on=copy.partition, how="left")
    many = counts.filter(pl.col("changed") > pl.col("rows").fill_null(0) * _FEW)[copy.partition]
    twice = [frame.filter(frame.select(on).is_duplicated())[copy.partition] for frame in (rows, before)]
    # Rows without a key cannot be found one by one, because a null equals nothing in SQL.
    without_key = changed.filter(pl.any_horizontal(pl.col(on).is_null()))[copy.partition]
    whole = pl.concat([many, *twice, without_key]).unique().to_list()
    return changed.filter(~pl.col(copy.partition).is_in(whole)), whole


def _remove_keys(cursor: "Cursor", copy: Copy, changed: pl.DataFrame) -> pl.DataFrame:
    """Remove the rows with some keys on their dates; return counts as `_remove` does."""
    ingest(cursor, "changed_rows", changed, changed.columns, mode="create", temporary=True)
    equal = " AND ".join(f"stored.{name} = changed.{name}" for name in changed.columns)
    # The condition on dates lets the server use the index, instead of reading all dates to find a few keys.
    of_dates = _of_dates(copy, changed[copy.partition].unique().to_list())
    removed = _remove(cursor, copy, f"FROM {_stored(copy)} USING changed_rows AS changed WHERE {of_dates} AND {equal}")
    cursor.execute("DROP TABLE changed_rows")
    return removed


def _remove(cursor: "Cursor", copy: Copy, source: str) -> pl.DataFrame:
    """Remove the rows that FROM and WHERE select; return the counted keys with negative numbers."""
    if not copy.counted:
        cursor.execute(f"DELETE {source}")
        return _no_keys()
    cursor.execute(
        f"WITH removed AS (DELETE {source} RETURNING stored.{copy.counted} AS key) "
        "SELECT key, -count(*) AS rows FROM removed WHERE key IS NOT NULL GROUP BY key"
    )
    return pl.DataFrame(cursor.fetch_arrow_table()).cast(_no_keys().schema)


def _stored(copy: Copy) -> str:
    return f"{lake_schema()}.{copy.name} AS stored"


def _of_dates(copy: Copy, dates: Sequence[date]) -> str:
    listed = ", ".join(f"'{day}'" for day in dates)
    return f"stored.{copy.partition} IN ({listed})"


def _rows_by_date(cursor: "Cursor", copy: Copy, dates: Sequence[date]) -> dict[date, int]:
    cursor.execute(f"SELECT {copy.partition}, count(*) FROM {_stored(copy)} WHERE {_of_dates(copy, dates)} GROUP BY 1")
    return dict(cursor.fetchall())


def _as_copied(rows: Frame, copy: Copy) -> pl.DataFrame:
    """Return rows of a lake table in the columns of its copy."""
    return rows_of(_copied(rows, copy))


def _copied(rows: Frame, copy: Copy) -> Frame:
    kept = rows.filter(~nw.col("is_deleted")) if "is_deleted" in copy.without else rows
    return kept.select(list(copy.types))


def _ingest(cursor: "Cursor", rows: pl.DataFrame, copy: Copy, target: str | None = None) -> pl.DataFrame:
    """Add rows to the table of a copy, or to another one with its columns; return their counted keys: key, rows."""
    if not rows.is_empty():
        ingest(cursor, target or copy.name, rows, copy.table.key, mode="append", db_schema_name=lake_schema())
    if not copy.counted:
        return _no_keys()
    return rows.lazy().group_by(key=copy.counted).agg(rows=pl.len().cast(pl.Int64)).drop_nulls().collect()


def _copy(cursor: "Cursor", chunks: Iterable[_Rows], copy: Copy, target: str | None = None) -> Copied:
    """Copy rows to the table of a copy, or to another one with its columns."""
    copied, keys = 0, []
    for chunk, at_once in chunks:
        plan = _copied(chunk, copy)
        for rows in [rows_of(plan)] if at_once is None else row_batches(plan, at_once):
            keys.append(_ingest(cursor, rows, copy, target))
            copied += rows.height
    return Copied(copied, keys)


def _copy_by_two(cursor: "Cursor", chunks: Sequence[_Rows], copy: Copy) -> Copied:
    """Copy rows through two connections, so that one encodes rows while the other waits for the server.

    Two transactions cannot add to the same uncommitted table. So the second half goes to a separate table, and the
    server moves it from there.
    """
    second_table = second_half_table(copy.name)

    def second_half() -> Copied:
        with connect("warehouse") as connection, connection.cursor() as second_cursor:
            # A killed load may have left the table; no other load uses it, because of the lock on the copy.
            second_cursor.execute(f"DROP TABLE IF EXISTS {lake_schema()}.{second_table}")
            columns = ", ".join(f"{name} {kind}" for name, kind in copy.columns.items())
            second_cursor.execute(f"CREATE UNLOGGED TABLE {lake_schema()}.{second_table} ({columns})")
            register(second_cursor, lake_schema(), second_table)
            copied = _copy(second_cursor, chunks[1::2], copy, second_table)
            connection.commit()
            return copied

    with ThreadPoolExecutor(1, thread_name_prefix=second_table) as thread:
        second = thread.submit(second_half)
        halves = _copy(cursor, chunks[::2], copy), second.result()
    cursor.execute(f"INSERT INTO {lake_schema()}.{copy.name} SELECT * FROM {lake_schema()}.{second_table}")
    cursor.execute(f"DROP TABLE {lake_schema()}.{second_table}")
    return Copied(sum(half.rows for half in halves), [keys for half in halves for keys in half.keys])


def _no_keys() -> pl.DataFrame:
    return pl.DataFrame(schema={"key": pl.String, "rows": pl.Int64})


def count_keys(cursor: "Cursor", copy: Copy, keys: Sequence[pl.DataFrame]) -> None:
    """Update the list of keys and their numbers of rows; keys without rows are removed.

    Args:
        cursor: Cursor of the transaction that replaces the rows.
        copy: A copy that has a list of keys.
        keys: Changes in the numbers of rows: frames of key, rows.
    """
    counts = pl.concat([_no_keys(), *keys])
    # Keys are sorted, so that the index grows at its end.
    changed = counts.group_by("key").agg(pl.col("rows").sum()).filter(pl.col("rows") != 0).sort("key")
    if changed.is_empty():
        return
    ingest(cursor, "changed_keys", changed, ["key"], mode="create", temporary=True)
    cursor.execute(
        f"INSERT INTO {lake_schema()}.{copy.keys} AS listed SELECT key, rows FROM changed_keys "
        f"ON CONFLICT ({copy.counted}) DO UPDATE SET rows = listed.rows + excluded.rows"
    )
    cursor.execute(f"DELETE FROM {lake_schema()}.{copy.keys} WHERE rows = 0")
    cursor.execute("DROP TABLE changed_keys")
