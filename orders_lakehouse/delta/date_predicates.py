"""How dates of a table are named to Delta and to Polars.

Nothing here opens a table. Arithmetic on dates that knows no table is in `orders_lakehouse/dates.py`.
"""

from collections.abc import Iterable
from datetime import date

import polars as pl

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.dates import bridged, spans

# Delta does not tell a predicate of more than twenty spans apart from other dates: a writer of one of those would count
# as a conflict.
_MOST_SPANS = 20


def few_spans(dates: Iterable[date]) -> list[tuple[date, date]]:
    """Return first and last date of each of few spans that hold the dates, and perhaps dates between them."""
    return bridged(spans(dates), _MOST_SPANS)


def within(column: str, dates: Iterable[tuple[date, date]]) -> str:
    """Return a predicate of the rows whose date lies in one of the spans; empty without any."""
    return " OR ".join(f"{column} BETWEEN '{first}' AND '{last}'" for first, last in dates)


def day_of(table: Table) -> pl.Expr:
    """Return the partition of a row; null for a table without dates."""
    return pl.col(table.partitioned_by) if table.partitioned_by else pl.lit(None, pl.Date)
