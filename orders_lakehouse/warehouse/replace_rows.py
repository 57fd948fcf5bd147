"""How the rows of a copy are replaced: all of them, or those that became different on some dates.

Which copy is loaded, from which version to which, and what the warehouse remembers of it belongs in `load`.
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
from orders_lakehouse.warehouse.ownership import (
    beside,
    register,
)

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

log = logging.getLogger(__name__)

# A plan, and how many of its rows are copied at once; None: all of them.
_Rows = tuple[Frame, int | None]

# Rows that are in memory at once while a table is loaded, at each of the versions that are compared.
_CHUNK_ROWS = 400_000
# Of a date, at most this share of the rows is replaced one by one.
_FEW = 0.2


@dataclass(frozen=True)
class Copied:
    """How many rows were copied, and by how many of each key that is counted there are more: frames of key, rows."""

    rows: int
    keys: list[pl.DataFrame]


def replace_all(cursor: "Cursor", lake: Lake, copy: Copy, handle: DeltaTable) -> Copied:
    """Replace all rows of a copy, and leave it without its index."""
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
    """Name of the index by which a copy finds its dates."""
    return f"{copy.name}_{copy.partition}"


def replace_changed(
    cursor: "Cursor", lake: Lake, copy: Copy, versions: tuple[DeltaTable, DeltaTable], dates: Sequence[date]
) -> Copied | None:
    """Replace what became different on some dates from the version that the copy holds to another one.

    A date of which few rows changed is not written anew as a whole: the server would have to clear away as many dead
    rows as it got new ones, and whoever looks for the date would meet them all until then.

    Returns:
        What was copied; None when the copy was not what it remembered.
    """
    copied, keys, is_known = 0, [], True
    for chunk, _ in _chunks(copy, versions, dates):
        then, now = (lake.scan_at(handle, copy.table, chunk) for handle in versions)
        rows = _as_copied(now, copy)
        before = _as_it_was(then, copy) if is_known else None
        is_known = before is not None
        changed, whole = (rows.clear(), chunk) if before is None else _to_replace(before, rows, copy)
        on_whole = pl.col(copy.partition).is_in(whole)
        if whole:
            keys.append(_remove(cursor, copy, f"FROM {_standing(copy)} WHERE {_of_dates(copy, whole)}"))
        if changed.height:
            keys.append(_remove_keys(cursor, copy, changed))
        new = pl.concat([rows.filter(on_whole), rows.join(changed, on=changed.columns, how="semi")])
        keys.append(_ingest(cursor, new, copy))
        copied += new.height
        if _rows_by_date(cursor, copy, chunk) != dict(rows.group_by(copy.partition).len().iter_rows()):
            log.warning("Somebody has added or removed rows of %s.%s: loading it whole", lake_schema(), copy.name)
            return None
    return Copied(copied, keys)


class _Chunk(NamedTuple):
    """Dates that are copied together, and how many of their rows at once; None: all of them."""

    dates: list[date]
    at_once: int | None


def _chunks(copy: Copy, handles: Sequence[DeltaTable], dates: Sequence[date] | None = None) -> Iterator[_Chunk]:
    """The dates to copy, or all of them, in groups of bounded size at each of some versions."""
    counts = [counted_rows(handle, copy.table, copy.types) for handle in handles]
    most = pl.concat(counts).group_by("date").agg(pl.col("rows", "counted").max())
    some = most if dates is None else most.filter(pl.col("date").is_in(list(dates)))
    counted, limit = dict(some.select("date", "counted").iter_rows()), row_limit(_CHUNK_ROWS)
    if counted:
        rows = dict(some.select("date", "rows").iter_rows())
        for first, last in batch_spans(counted, min(counted), max(counted), limit):
            chunk = [day for day in counted if first <= day <= last]
            held = sum(counted[day] for day in chunk)
            # A date beyond the limit.
            at_once = max(1, limit * sum(rows[day] for day in chunk) // held) if held > limit else None
            yield _Chunk(chunk, at_once)


def _as_it_was(then: Frame, copy: Copy) -> pl.DataFrame | None:
    """Rows of an older version as the copy has them; None where its files cannot be read any more."""
    try:
        return _as_copied(then, copy)
    except (FileNotFoundError, LakeError) as error:
        # Vacuumed by other means than ours. If it is the present version that cannot be read, that raises.
        log.warning("%s cannot be read as it was, copying whole dates: %s", copy.table.path, error)
        return None


def _to_replace(before: pl.DataFrame, rows: pl.DataFrame, copy: Copy) -> tuple[pl.DataFrame, list[date]]:
    """What is to be replaced for some dates to be as `rows` are.

    Args:
        before: Rows of the dates as the copy has them.
        rows: Rows of the dates as they are to be.
        copy: The copy.

    Returns:
        Rows, as partition and key, each once; and dates that are to be replaced as a whole instead, because many of
        their rows are others, a key stands there more than once, or a deleted row there has no key.
    """
    on = [copy.partition, *(name for name in copy.table.key if name != copy.partition)]
    pairs = ((rows, before), (before, rows))
    either = [one.join(other, on=one.columns, how="anti", nulls_equal=True).select(on) for one, other in pairs]
    changed = pl.concat(either).unique()
    counts = changed.group_by(copy.partition).agg(changed=pl.len())
    counts = counts.join(before.group_by(copy.partition).agg(rows=pl.len()), on=copy.partition, how="left")
    many = counts.filter(pl.col("changed") > pl.col("rows").fill_null(0) * _FEW)[copy.partition]
    twice = [frame.filter(frame.select(on).is_duplicated())[copy.partition] for frame in (rows, before)]
    # A null is equal to nothing, in the server as in a join.
    nameless = changed.filter(pl.any_horizontal(pl.col(on).is_null()))[copy.partition]
    whole = pl.concat([many, *twice, nameless]).unique().to_list()
    return changed.filter(~pl.col(copy.partition).is_in(whole)), whole


def _remove_keys(cursor: "Cursor", copy: Copy, changed: pl.DataFrame) -> pl.DataFrame:
    """Remove the rows with some keys on their dates, as `_remove` does."""
    ingest(cursor, "changed_rows", changed, changed.columns, mode="create", temporary=True)
    equal = " AND ".join(f"standing.{name} = changed.{name}" for name in changed.columns)
    # The dates are named besides, so that the server looks them up, rather than reads all dates to find few keys.
    of_dates = _of_dates(copy, changed[copy.partition].unique().to_list())
    gone = _remove(cursor, copy, f"FROM {_standing(copy)} USING changed_rows AS changed WHERE {of_dates} AND {equal}")
    cursor.execute("DROP TABLE changed_rows")
    return gone


def _remove(cursor: "Cursor", copy: Copy, source: str) -> pl.DataFrame:
    """Remove the rows that a FROM and a WHERE tell; returns the counted keys that go, with negative numbers."""
    if not copy.counted:
        cursor.execute(f"DELETE {source}")
        return _no_keys()
    cursor.execute(
        f"WITH gone AS (DELETE {source} RETURNING standing.{copy.counted} AS key) "
        "SELECT key, -count(*) AS rows FROM gone WHERE key IS NOT NULL GROUP BY key"
    )
    return pl.DataFrame(cursor.fetch_arrow_table()).cast(_no_keys().schema)


def _standing(copy: Copy) -> str:
    return f"{lake_schema()}.{copy.name} AS standing"


def _of_dates(copy: Copy, dates: Sequence[date]) -> str:
    listed = ", ".join(f"'{day}'" for day in dates)
    return f"standing.{copy.partition} IN ({listed})"


def _rows_by_date(cursor: "Cursor", copy: Copy, dates: Sequence[date]) -> dict[date, int]:
    cursor.execute(
        f"SELECT {copy.partition}, count(*) FROM {_standing(copy)} WHERE {_of_dates(copy, dates)} GROUP BY 1"
    )
    return dict(cursor.fetchall())


def _as_copied(rows: Frame, copy: Copy) -> pl.DataFrame:
    """Rows of a lake table as its copy has them."""
    return rows_of(_copied(rows, copy))


def _copied(rows: Frame, copy: Copy) -> Frame:
    kept = rows.filter(~nw.col("is_deleted")) if "is_deleted" in copy.without else rows
    return kept.select(list(copy.types))


def _ingest(cursor: "Cursor", rows: pl.DataFrame, copy: Copy, target: str | None = None) -> pl.DataFrame:
    """Add rows to the table of a copy, or to another one of the same columns; returns their counted keys: key, rows."""
    if not rows.is_empty():
        ingest(cursor, target or copy.name, rows, copy.table.key, mode="append", db_schema_name=lake_schema())
    if not copy.counted:
        return _no_keys()
    return rows.lazy().group_by(key=copy.counted).agg(rows=pl.len().cast(pl.Int64)).drop_nulls().collect()


def _copy(cursor: "Cursor", chunks: Iterable[_Rows], copy: Copy, target: str | None = None) -> Copied:
    """Copy rows to the table of a copy, or to another one of the same columns."""
    copied, keys = 0, []
    for chunk, at_once in chunks:
        plan = _copied(chunk, copy)
        for rows in [rows_of(plan)] if at_once is None else row_batches(plan, at_once):
            keys.append(_ingest(cursor, rows, copy, target))
            copied += rows.height
    return Copied(copied, keys)


def _copy_by_two(cursor: "Cursor", chunks: Sequence[_Rows], copy: Copy) -> Copied:
    """Copy rows through two connections, as one encodes rows and then waits until the server has taken them in.

    What a transaction has not committed no other one can add to: the second half goes to a table of its own, and from
    there, within the server, to where it belongs.
    """
    second_table = beside(copy.name)

    def second_half() -> Copied:
        with connect("warehouse") as connection, connection.cursor() as other:
            # Of a load that was killed; the lock on the copy keeps others out.
            other.execute(f"DROP TABLE IF EXISTS {lake_schema()}.{second_table}")
            columns = ", ".join(f"{name} {kind}" for name, kind in copy.columns.items())
            other.execute(f"CREATE UNLOGGED TABLE {lake_schema()}.{second_table} ({columns})")
            register(other, lake_schema(), second_table)
            copied = _copy(other, chunks[1::2], copy, second_table)
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
    """Add to the numbers of rows by key; a key without rows leaves the list.

    Args:
        cursor: Of the transaction that replaces the rows.
        copy: A copy that has a list of keys.
        keys: By how many there are more: frames of key, rows.
    """
    counts = pl.concat([_no_keys(), *keys])
    # In order, so that the index grows at its end.
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
