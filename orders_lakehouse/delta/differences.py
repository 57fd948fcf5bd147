"""Differences between the stored rows of a table and its next rows: new versions, changed dates.

No function here opens or writes a table.
"""

from collections.abc import Sequence

import polars as pl

from orders_lakehouse.contracts.raw import LINEAGE, number_columns
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.date_predicates import day_of
from orders_lakehouse.delta.storage_errors import explain_storage_errors

# Suffix of stored columns in a join with new rows; no column has a space in its name.
_STORED = " stored"
# Column that counts the offered rows with the same identity, including the row itself.
_OFFERED = "offered at once"


def new_versions(table: Table, rows: pl.DataFrame, stored: pl.DataFrame, identity: Sequence[str]) -> pl.DataFrame:
    """Return the rows that differ from the last captured row of the same identity and partition.

    The rows of a late capture are compared with rows captured before them, because they are older than the last ones.
    If a key now has another number of rows than at its last capture, its rows are new. So a key that came twice is
    unique again as soon as it is captured once.

    Args:
        table: A table of raw.
        rows: Columns of the table, and perhaps more.
        stored: Columns of the table: all stored rows with an identity of `rows`.
        identity: Columns that identify a version of a row.
    """
    on = [str(table.partitioned_by), *identity]
    content = [name for name in table.columns if name not in {*LINEAGE, *on}]
    compared = [_plain_number(name) if name in number_columns(table.model) else pl.col(name) for name in content]
    # Rows for partitions without stored rows are new, so they are not compared.
    candidates = rows.lazy().with_row_index().filter(pl.col(on[0]).is_in(stored[on[0]].unique().implode()))
    offered = pl.len().over(on).alias(_OFFERED)
    new = candidates.select("index", *on, *compared, "captured_at", offered).collect()
    known = stored.select(*on, *compared, "captured_at")
    pairs = new.join(known, on=on, how="inner", nulls_equal=True, suffix=_STORED)
    then, now = pl.col(f"captured_at{_STORED}"), pl.col("captured_at")
    last_before = pl.coalesce(then.filter(then <= now).max(), then.min()).over("index")
    is_last = then == last_before
    is_as_often = (then == now) | (is_last.sum().over("index") == pl.col(_OFFERED))
    is_same = [pl.col(name).eq_missing(pl.col(f"{name}{_STORED}")) for name in content]
    known_index = pairs.filter(is_last, is_as_often, *is_same)["index"].unique()
    if known_index.is_empty():
        return rows
    return rows.filter(~pl.int_range(pl.len(), dtype=pl.UInt32).is_in(known_index.implode()))


def _plain_number(column: str) -> pl.Expr:
    """Return the text of a number without trailing zeros, because a source with more decimals writes 1.50 as 1.5000."""
    text = pl.col(column)
    plain = text.str.strip_chars_end("0").str.strip_chars_end(".")
    return pl.when(text.str.contains(".", literal=True)).then(plain).otherwise(text).alias(column)


def changed_dates(standing: pl.LazyFrame, rows: pl.LazyFrame, table: Table) -> pl.Series:
    """Return dates (null for a table without dates) whose rows differ between the two sides.

    The sides are compared by the sums of two row hashes, so neither is sorted or kept in memory.
    """
    row = pl.struct(pl.all())
    sums = [
        frame.select(row.hash(1).alias("hash_1"), row.hash(2).alias("hash_2"), date=day_of(table))
        .group_by("date")
        .agg(pl.col("hash_1", "hash_2").sum(), rows=pl.len())
        for frame in (standing, rows)
    ]
    with explain_storage_errors(standing):
        before, after = pl.collect_all(sums, engine="streaming")
    return unequal_dates(before, after)


def unequal_dates(before: pl.DataFrame, after: pl.DataFrame) -> pl.Series:
    """Return dates whose sums differ, or that only one side has.

    Args:
        before: date, and sums over its rows.
        after: The same columns.
    """
    either = [before.join(after, on=before.columns, how="anti", nulls_equal=True)]
    either.append(after.join(before, on=before.columns, how="anti", nulls_equal=True))
    return pl.concat(either)["date"].unique().sort()
