"""How rows are inserted and appended through an open handle: what capture and bookkeeping write.

Dates that are derived are replaced by an engine (`engines/`). A handle is opened, given away and tried again with in
`tables.py`.
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

# Files of a table that is appended to, before they become one.
_SMALL_FILES = 100
# Stored rows for each row to compare, beyond which those alike are looked for: to hold them all would cost more.
_FAR_MORE = 2

# Reads, of a table as it stands, the rows that stay, and says whether they are all.
Keep = Callable[[DeltaTable], tuple[pl.DataFrame, bool]]


def insert_new(handle: DeltaTable, table: Table, rows: pl.DataFrame, identity: Sequence[str]) -> int:
    """Insert the rows that are not there yet, and return how many; see `Lake.insert_new`."""
    dates = rows[str(table.partitioned_by)].unique().sort().to_list()
    extra = [name for name in rows.columns if name not in table.schema]
    on = [str(table.partitioned_by), *identity]
    stored = _standing(handle, table, rows, on, table.columns)
    new = new_versions(table, rows, stored, identity).select(*table.columns, *extra)
    if new.height:
        claims = commits.claiming(handle, "captured", map(str, dates), {})
        new = by_partition(new, table)
        commits.write(handle, new, mode="append", schema_mode="merge", commit_properties=claims)
        commits.checkpoint_if_large(handle, len(dates))
    return new.height


def replace_captured(
    handle: DeltaTable, table: Table, day: date, rows: pl.DataFrame, identity: Sequence[str], keep: Keep
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Replace a capture date by what is kept and what it lacks, and return both; see `Lake.replace_captured`."""
    add_columns(handle, {**table.schema, **rows.schema})
    stored = object_store.scan(handle).collect_schema()
    found, is_whole = keep(handle)
    kept = with_columns_of(found, stored)
    known = rows_of(as_contract(nw.from_native(kept.lazy()), handle, table))
    new = with_columns_of(new_versions(table, rows, known, identity), stored)
    if new.height or not is_whole:
        claims = commits.claiming(handle, "captured", [str(day)], {"recaptured": str(day)})
        predicate = within(str(table.partitioned_by), [(day, day)])
        commits.write(handle, pl.concat([kept, new]), mode="overwrite", predicate=predicate, commit_properties=claims)
    return known, new.select(table.columns)


def append(handle: DeltaTable, table: Table, rows: pl.DataFrame) -> None:
    """Append rows, and make one file of many; see `Lake.append`."""
    new = rows.select(table.columns)
    commits.write(handle, new, mode="append", writer_properties=IN_GROUPS, commit_properties=commits.UNCLAIMED)
    if len(handle.file_uris()) > _SMALL_FILES:
        compact(handle, table)


def present(handle: DeltaTable, table: Table, rows: pl.DataFrame, identity: Sequence[str]) -> pl.DataFrame:
    """Return those of the rows that stand in a table, found by partition and identity."""
    on = [str(table.partitioned_by), *identity]
    return rows.join(_standing(handle, table, rows, on, on), on=on, how="semi", nulls_equal=True)


def _standing(
    handle: DeltaTable, table: Table, rows: pl.DataFrame, on: Sequence[str], columns: Sequence[str]
) -> pl.DataFrame:
    """Return rows that stand on the dates of others: all that are alike in some columns, and perhaps more.

    Where far more stand there, those that are not alike are left out: memory does not grow with what a date holds.

    Args:
        handle: The table, open.
        table: The table.
        rows: The others, with `on`.
        on: The partition, and columns of identity.
        columns: Columns of the table to return.
    """
    dates = rows[on[0]].unique().sort().to_list()
    frame = POLARS.scan(handle, table, few_spans(dates)).filter(nw.col(on[0]).is_in(dates))
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
