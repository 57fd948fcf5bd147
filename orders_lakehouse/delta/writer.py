"""Insert and append rows through an open handle, for capture and bookkeeping.

An engine (`engines/`) replaces derived dates. `tables.py` opens handles, shares them, and retries after a conflict.
"""

from collections.abc import Callable, Sequence
from datetime import date

import narwhals as nw
import polars as pl
from deltalake import DeltaTable

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta import commits, object_store
from orders_lakehouse.delta.compaction import IN_GROUPS, compact
from orders_lakehouse.delta.conforming import by_partition, with_columns_of
from orders_lakehouse.delta.date_predicates import few_spans, within
from orders_lakehouse.delta.differences import new_versions
from orders_lakehouse.delta.engines.polars import POLARS
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.opening import add_columns
from orders_lakehouse.delta.schema_evolution import as_contract
from orders_lakehouse.delta.table_files import files_of

# Number of files above which an appended table is compacted into one.
_SMALL_FILES = 100
# Ratio of stored rows to offered rows above which stored rows are filtered by identity, because all of them would take
# too much memory.
_FAR_MORE = 2

# Function that reads the rows of a partition that stay, and says whether these are all of its rows.
Keep = Callable[[DeltaTable], tuple[pl.DataFrame, bool]]


def insert_new(handle: DeltaTable, table: Table, rows: pl.DataFrame, identity: Sequence[str]) -> int:
    """Insert the rows that the table lacks, and return their number; see `Lake.insert_new`."""
    dates = rows[str(table.partitioned_by)].unique().sort().to_list()
    extra = [name for name in rows.columns if name not in table.schema]
    on = [str(table.partitioned_by), *identity]
    stored = _stored_on_same_dates(handle, table, rows, on, table.columns)
    new = new_versions(table, rows, stored, identity).select(*table.columns, *extra)
    if new.height:
        claims = commits.claiming_commit(handle, "captured", map(str, dates), {})
        new = by_partition(new, table)
        commits.write(handle, new, mode="append", schema_mode="merge", commit_properties=claims)
        commits.checkpoint_if_large(handle, len(dates))
    return new.height


def replace_captured(
    handle: DeltaTable, table: Table, day: date, rows: pl.DataFrame, identity: Sequence[str], keep: Keep
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Replace a capture date with its rows to keep and the offered rows that are new; see `Lake.replace_captured`."""
    add_columns(handle, {**table.schema, **rows.schema})
    stored = object_store.scan(handle).collect_schema()
    rows_to_keep, is_whole = keep(handle)
    kept = with_columns_of(rows_to_keep, stored)
    known = rows_of(as_contract(nw.from_native(kept.lazy()), handle, table))
    new = with_columns_of(new_versions(table, rows, known, identity), stored)
    if new.height or not is_whole:
        claims = commits.claiming_commit(handle, "captured", [str(day)], {"recaptured": str(day)})
        predicate = within(str(table.partitioned_by), [(day, day)])
        commits.write(handle, pl.concat([kept, new]), mode="overwrite", predicate=predicate, commit_properties=claims)
    return known, new.select(table.columns)


def append(handle: DeltaTable, table: Table, rows: pl.DataFrame) -> None:
    """Append rows, and compact many files into one; see `Lake.append`."""
    new = rows.select(table.columns)
    commits.write(handle, new, mode="append", writer_properties=IN_GROUPS, commit_properties=commits.UNCLAIMED)
    if len(handle.file_uris()) > _SMALL_FILES:
        compact(handle, table)


def present(handle: DeltaTable, table: Table, rows: pl.DataFrame, identity: Sequence[str]) -> pl.DataFrame:
    """Return the offered rows that a table has stored already, compared by partition and identity."""
    on = [str(table.partitioned_by), *identity]
    return rows.join(_stored_on_same_dates(handle, table, rows, on, on), on=on, how="semi", nulls_equal=True)


def _stored_on_same_dates(
    handle: DeltaTable, table: Table, rows: pl.DataFrame, on: Sequence[str], columns: Sequence[str]
) -> pl.DataFrame:
    """Return all stored rows with the identity of an offered row, and perhaps more rows of the same dates.

    If far more rows are stored than offered, only those with the identity of an offered row are returned. So memory
    does not grow with the rows of a date.

    Args:
        handle: The table, open.
        table: The table.
        rows: The offered rows, with the columns `on`.
        on: The partition, and columns of identity.
        columns: Columns of the table to return.
    """
    dates = rows[on[0]].unique().sort().to_list()
    frame = POLARS.scan(handle, table, few_spans(dates)).filter(nw.col(on[0]).is_in(dates))
    stored_count = files_of(handle, table).filter(pl.col("date").is_in(dates))["rows"].sum()
    if stored_count <= _FAR_MORE * rows.height:
        return rows_of(frame.select(columns))
    identities = rows.lazy().select(on).unique()

    def matching(names: Sequence[str]) -> pl.DataFrame:
        native: pl.LazyFrame = nw.to_native(frame.select(names))
        return rows_of(nw.from_native(native.join(identities, on=on, how="semi", nulls_equal=True)))

    matches = matching(on)
    # Usually no row matches; then the other columns need not be read.
    if matches.is_empty():
        return pl.DataFrame(schema={name: table.schema[name] for name in columns})
    return matches if columns == on else matching(columns)
