"""How big a table is, from its log alone."""

from dataclasses import dataclass

import polars as pl

from orders_lakehouse.contracts.tables import Table
from orders_lakehouse.lake.delta import Lake, files_of


@dataclass(frozen=True)
class Extent:
    """A table at a version.

    Attributes:
        version: The version.
        files: date, rows, bytes of each file; date is null where the table has no partitions.
    """

    version: int
    files: pl.DataFrame

    def by_date(self) -> pl.DataFrame:
        """date, value: the rows of each date, in order."""
        return self.files.group_by("date").agg(value=pl.col("rows").sum()).sort("date")


def extent(lake: Lake, table: Table) -> Extent:
    """How big a table is now."""
    handle = lake.open(table)
    files = files_of(handle)
    partition = f"partition.{table.partitioned_by}"
    if files.is_empty():
        return Extent(handle.version(), pl.DataFrame(schema={"date": pl.Date, "rows": pl.Int64, "bytes": pl.Int64}))
    return Extent(
        handle.version(),
        files.select(
            date=pl.col(partition).cast(pl.Date) if table.partitioned_by else pl.lit(None, pl.Date),
            rows=pl.col("num_records"),
            bytes=pl.col("size_bytes"),
        ),
    )
