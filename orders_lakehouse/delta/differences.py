"""What differs between rows that stand in a table and rows that are to stand there: new versions, changed dates.

Nothing here reads a table by itself or writes one.
"""

from collections.abc import Sequence

import polars as pl

from orders_lakehouse.contracts.raw import LINEAGE, number_columns
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.date_predicates import day_of
from orders_lakehouse.delta.storage_errors import storage_trouble

# Suffix of a stored column beside the new one; no column is named with a space.
_STORED = " stored"
# Column that counts the rows with a row's identity that are captured with it, itself included.
_OFFERED = "offered at once"


def new_versions(table: Table, rows: pl.DataFrame, stored: pl.DataFrame, identity: Sequence[str]) -> pl.DataFrame:
    """Return those of the rows that differ from the stored row of their identity and partition captured last.

    A capture that comes late is compared with what was captured before it: its rows are older than the last ones. Where
    a key was captured as another number of rows than it comes as now, its rows are new: a key that came twice is one
    again once it is captured once.

    Args:
        table: A table of raw.
        rows: Columns of the table, and perhaps more.
        stored: Columns of the table: all rows that stand with an identity of `rows`.
        identity: Columns by which versions of a row are told apart.
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
    """Return the text of a number without trailing zeros: a source that gets more decimals writes 1.50 as 1.5000."""
    text = pl.col(column)
    plain = text.str.strip_chars_end("0").str.strip_chars_end(".")
    return pl.when(text.str.contains(".", literal=True)).then(plain).otherwise(text).alias(column)


def changed_dates(standing: pl.LazyFrame, rows: pl.LazyFrame, table: Table) -> pl.Series:
    """Return dates (null for a table without any) that do not hold the same rows on both sides.

    Both sides are compared by the sums of two hashes of their rows, so neither is sorted or held.
    """
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
    """Return dates whose sums differ, or that one side lacks.

    Args:
        before: date, and any sums of its rows.
        after: The same columns.
    """
    either = [before.join(after, on=before.columns, how="anti", nulls_equal=True)]
    either.append(after.join(before, on=before.columns, how="anti", nulls_equal=True))
    return pl.concat(either)["date"].unique().sort()
