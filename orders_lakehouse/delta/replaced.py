"""The outcome of a replacement of dates or of a whole table. No function here replaces anything."""

from dataclasses import dataclass

import polars as pl

# Number of rows in a sample of a table.
SAMPLED = 8


@dataclass(frozen=True)
class Replaced:
    """The outcome of a replacement for one table.

    Attributes:
        by_date: date (null for a table without dates), rows: number of rows after the replacement.
        sample: A few of the rows of the last date, with the table's columns.
        changed: The dates whose rows changed; null for a table without dates.
    """

    by_date: pl.DataFrame
    sample: pl.DataFrame
    changed: pl.Series

    @property
    def rows(self) -> int:
        """Return the number of rows after the replacement."""
        return int(self.by_date["rows"].sum())


def sampled(rows: pl.DataFrame, partitioned_by: str | None) -> pl.DataFrame:
    """Return a few rows of the last date as a copy, because a slice would keep all rows in memory."""
    if partitioned_by is not None:
        rows = rows.filter(pl.col(partitioned_by) == pl.col(partitioned_by).max())
    some = rows.select(pl.all().gather(range(min(SAMPLED, rows.height))))
    # The oldest Arrow format forces a copy of texts; otherwise Polars shares the memory of all texts.
    return pl.DataFrame(some.to_arrow(compat_level=pl.CompatLevel.oldest()))
