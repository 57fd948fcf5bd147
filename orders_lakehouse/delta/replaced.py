"""What a replacement of dates, or of a whole table, says of its outcome; nothing is replaced here."""

from dataclasses import dataclass

import polars as pl

# Rows of a table that are shown as a sample.
SAMPLED = 8


@dataclass(frozen=True)
class Replaced:
    """What became of a table.

    Attributes:
        by_date: date (null for a table without dates), rows: of what stands now.
        sample: A few of the rows, the table's columns.
        changed: The dates that came out otherwise than they stood; null for a table without dates.
    """

    by_date: pl.DataFrame
    sample: pl.DataFrame
    changed: pl.Series

    @property
    def rows(self) -> int:
        """Rows that stand now."""
        return int(self.by_date["rows"].sum())


def sampled(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the first of some rows, in memory of their own: a slice would hold all rows that it was cut out of."""
    some = rows.select(pl.all().gather(range(min(SAMPLED, rows.height))))
    # This form copies texts; Polars shares the memory in which all of them lie.
    return pl.DataFrame(some.to_arrow(compat_level=pl.CompatLevel.oldest()))
