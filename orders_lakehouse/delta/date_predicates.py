"""Predicates for the dates of a table, for Delta and for Polars.

No function here opens a table. `orders_lakehouse/dates.py` has arithmetic on dates that needs no table.
"""

from collections.abc import Iterable
from datetime import date

import polars as pl

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.dates import bridged, spans

# Most spans in a predicate. With more than twenty, Delta reports a conflict with writers of other dates.
_MOST_SPANS = 20


def few_spans(dates: Iterable[date]) -> list[tuple[date, date]]:
    """Return first and last date of a few spans that contain the dates, and perhaps dates between them."""
    return bridged(spans(dates), _MOST_SPANS)


def within(column: str, dates: Iterable[tuple[date, date]]) -> str:
    """Return a predicate for rows whose date lies in one of the spans; empty text if there are no spans."""
    return " OR ".join(f"{column} BETWEEN '{first}' AND '{last}'" for first, last in dates)


def day_of(table: Table) -> pl.Expr:
    """Return the partition of a row; null for a table without dates."""
    return pl.col(table.partitioned_by) if table.partitioned_by else pl.lit(None, pl.Date)
