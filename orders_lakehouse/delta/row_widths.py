"""How many rows the dates of a table count for in memory: a wide row counts for several.

The log says how many rows and bytes a file has. If a file has more bytes than ordinary rows take, its footer says how
long its columns are when they are read; columns that nobody reads count for nothing. What follows from the numbers is
decided in `batches.py`.
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

# Bytes of a file beside its rows at most, and of an ordinary row in it, compressed. Ordinary shops have less: of their
# files no footer is read.
_FILE_BYTES, _ORDINARY_BYTES = 8_000, 100
# Bytes of a row, not compressed, from which on it counts for more than one: what is derived from it is held with it,
# and is written, which takes three times as much.
_ROW_BYTES = 500
# Footers that are read at once: each takes as long as the storage takes to answer.
_FOOTERS = 16


def counted_rows(
    handle: DeltaTable, table: Table, columns: Collection[str] = (), within: pl.Expr | None = None
) -> pl.DataFrame:
    """What the dates of a table count for.

    Args:
        handle: The table, open.
        table: The table.
        columns: Columns that are read; none: all of its contract.
        within: Condition on `date`, for some of the dates.

    Returns:
        date, rows (as they are), counted (as many ordinary rows take as much memory); both Int64.
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


# A file is never changed.
@lru_cache(maxsize=20_000)
def _bytes_of_file(location: str, path: str, columns: frozenset[str]) -> int:
    """Bytes of some columns of a file, not compressed; 0 for one that cannot be read: whoever reads it says so."""
    import pyarrow.parquet as pq

    try:
        footer = pq.read_metadata(path, filesystem=files_at(location))
    except (OSError, pa.ArrowException):
        return 0
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    chunks = [group.column(number) for group in groups for number in range(footer.num_columns)]
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in columns)
