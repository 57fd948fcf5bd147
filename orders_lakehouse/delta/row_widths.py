"""Count the rows of each date by the memory that they take: a wide row counts as several ordinary ones.

The log says how many rows and bytes a file has. If a file has more bytes than ordinary rows take, its footer gives the
uncompressed size of each column; columns that are not read do not count. `batches.py` uses the numbers.
"""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.object_store import files_at, path_of
from orders_lakehouse.delta.table_files import files_of

# Largest overhead of a file, and largest size of an ordinary compressed row, both in bytes. Files of ordinary shops are
# below, so their footers are not read.
_FILE_BYTES, _ORDINARY_BYTES = 8_000, 100
# Uncompressed bytes above which a row counts as more than one. Deriving and writing it takes three times as much
# memory again.
_ROW_BYTES = 500
# Number of footers that are read at once, because each waits for an answer of the storage.
_FOOTERS = 16


def counted_rows(
    handle: DeltaTable, table: Table, columns: Collection[str] = (), within: pl.Expr | None = None
) -> pl.DataFrame:
    """Return the rows of each date of a table, counted by the memory that they take.

    Args:
        handle: The table, open.
        table: The table.
        columns: Columns that are read; all columns of the contract if none are named.
        within: Condition on `date` that selects some of the dates.

    Returns:
        date, rows (their number), counted (number of ordinary rows that take as much memory); both Int64.
    """
    files = files_of(handle, table).filter(pl.lit(value=True) if within is None else within)
    is_wide = pl.col("bytes") - _FILE_BYTES > pl.col("rows") * _ORDINARY_BYTES
    wide = files.filter(is_wide)
    read = frozenset(columns or table.columns)
    long = pl.DataFrame({"path": wide["path"], "long": _bytes_of(handle.table_uri, wide["path"].to_list(), read)})
    counted = pl.max_horizontal("rows", pl.col("long").fill_null(0) // _ROW_BYTES)
    each = files.join(long.cast({"path": pl.String, "long": pl.Int64}), on="path", how="left")
    return each.group_by("date").agg(pl.col("rows").sum(), counted.sum().alias("counted")).sort("date")


def _bytes_of(table_uri: str, paths: Sequence[str], columns: frozenset[str]) -> list[int]:
    if not paths:
        return []
    location = path_of(table_uri)
    with ThreadPoolExecutor(_FOOTERS, thread_name_prefix="footer") as readers:
        return list(readers.map(partial(_bytes_of_file, location, columns=columns), paths))


# The cache is safe because a file of a Delta table never changes.
@lru_cache(maxsize=20_000)
def _bytes_of_file(location: str, path: str, columns: frozenset[str]) -> int:
    """Return the uncompressed bytes of some columns of a file; 0 if it cannot be read, which its reader reports."""
    import pyarrow.parquet as pq

    try:
        footer = pq.read_metadata(path, filesystem=files_at(location))
    except (OSError, pa.ArrowException):
        return 0
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(footer.num_columns)]
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in columns)
