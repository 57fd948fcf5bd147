"""The files of an open table, from its log: dates, rows, bytes; and the identity of its state.

No function here reads rows or searches for versions; `log.py` knows versions and commits.
"""

from datetime import date

import polars as pl
from deltalake import DeltaTable

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.storage_errors import explain_storage_errors


def files_of(handle: DeltaTable, table: Table) -> pl.DataFrame:
    """Return the files of a table that hold rows.

    Returns:
        path, date (null where the table has no partitions), rows, bytes.
    """
    with explain_storage_errors(handle.table_uri):
        files = pl.DataFrame(handle.get_add_actions(flatten=True))
    if files.is_empty():
        return pl.DataFrame(schema={"path": pl.String, "date": pl.Date, "rows": pl.Int64, "bytes": pl.Int64})
    partition = pl.col(f"partition.{table.partitioned_by}") if table.partitioned_by else pl.lit(None, pl.String)
    return files.select("path", date=partition.cast(pl.Date), rows="num_records", bytes="size_bytes").filter(
        pl.col("rows") > 0
    )


def has_rows(handle: DeltaTable, table: Table, dates: tuple[date, date] | None) -> bool:
    """Return whether a table has rows between two dates; on any date for None."""
    files = files_of(handle, table)
    return not (files if dates is None else files.filter(pl.col("date").is_between(*dates))).is_empty()


def state_of(handle: DeltaTable) -> tuple[str, int]:
    """Return id and version of a table; the rows are equal if both are."""
    return str(handle.metadata().id), handle.version()
