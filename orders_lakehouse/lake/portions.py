"""A range of dates in portions that fit into memory, worked through one after the other, each atomic.

A portion is as many dates as have so many rows, whatever their number: a date on which everybody buys counts for what
it holds. One date is never divided.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.tables import KEY_DATES, ORDERS, RAW_OF, RAW_ORDERS, Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.lake.delta import Lake, Replaced, files_of, rows_of
from orders_lakehouse.memory import memory_limit

# More rows at once are no faster.
_MOST_ROWS = 500_000
# What a process holds before it has read a row, and what a row takes while a table with many columns is derived.
_FIXED_BYTES, _ROW_BYTES = 700_000_000, 1_500
_SAMPLED = 8

Span = tuple[date, date]


@dataclass(frozen=True)
class Done:
    """What became of a table over all portions.

    Attributes:
        by_date: date, rows: of what the dates hold now.
        sample: A few of the rows, the table's columns.
        changed: The dates that came out otherwise than they stood.
    """

    by_date: pl.DataFrame
    sample: pl.DataFrame
    changed: frozenset[date]

    @property
    def rows(self) -> int:
        """Rows that the dates hold now."""
        return int(self.by_date["rows"].sum())


def replace_range(
    lake: Lake,
    tables: Sequence[Table],
    spans: Sequence[Span],
    derive: Callable[[Lake, date, date], Sequence[Frame]],
    run_id: str = "",
) -> list[Done]:
    """Replace a range of dates of some tables, portion by portion, as `Lake.replace_dates` does.

    Args:
        lake: The lake.
        tables: Targets, partitioned by a date.
        spans: The portions, in order.
        derive: Makes the new rows of each target from a lake that stands still, for a first and a last date.
        run_id: Run on whose behalf it is.

    Returns:
        What became of each target.
    """
    counted: list[list[pl.DataFrame]] = [[] for _ in tables]
    samples = [pl.DataFrame(schema=table.schema) for table in tables]
    changed: list[set[date]] = [set() for _ in tables]

    def replace(first: date, last: date) -> list[Replaced]:
        return lake.replace_dates(tables, first, last, lambda source: derive(source, first, last), run_id)

    for span in spans:
        for number, (table, of_table) in enumerate(zip(tables, replace(*span), strict=True)):
            counted[number].append(_counted(of_table.rows, table))
            # Cut out of what is let go, a few rows would hold all of it.
            samples[number] = of_table.rows.head(_SAMPLED).clone() if of_table.rows.height else samples[number]
            changed[number].update(of_table.changed)
    return [
        Done(pl.concat(counts), sample, frozenset(dates))
        for counts, sample, dates in zip(counted, samples, changed, strict=True)
    ]


def _counted(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    return rows.group_by(date=str(table.partitioned_by)).agg(rows=pl.len().cast(pl.Int64))


def portions(rows: Mapping[date, int], first: date, last: date, limit: int) -> list[Span]:
    """Cut a range into stretches of dates.

    Args:
        rows: Rows by date, of dates in the range; one that is not named has none.
        first: First date.
        last: Last date.
        limit: Rows of a stretch at most, but of one that is a single date.

    Returns:
        First and last date of each, in order: they cover the range, and do not overlap.
    """
    begins, held = [first], 0
    for day in sorted(rows):
        if held and held + rows[day] > limit:
            begins.append(day)
            held = 0
        held += rows[day]
    ends = [begin - timedelta(days=1) for _, begin in pairwise(begins)]
    return list(zip(begins, [*ends, last], strict=True))


def row_limit() -> int:
    """Rows of a portion at most, by the memory that the settings allow."""
    return max(1, min(_MOST_ROWS, (memory_limit() - _FIXED_BYTES) // _ROW_BYTES))


def portions_of_rows(lake: Lake, table: Table, first: date, last: date) -> list[Span]:
    """A range in portions by the rows that a table has of each date."""
    return portions(_stored(lake, table, first, last), first, last, row_limit())


def portions_of_versions(lake: Lake, table: Table, first: date, last: date) -> list[Span]:
    """A range in portions by the versions in raw that each date of a cleansed table is derived from.

    Where rows count by the date of their order, that is estimated: each order has as many lines as another.
    """
    raw = RAW_OF[table.name]
    rows = _stored(lake, raw, first, last)
    if table.partitioned_by == ORDERS.partitioned_by:
        entries = rows_of(
            lake.scan(KEY_DATES)
            .filter(nw.col("table_name") == RAW_ORDERS.name)
            .filter(nw.col("order_date").is_between(nw.lit(first), nw.lit(last)))
            .group_by("order_date")
            .agg(nw.len())
        )
        orders, of_all = (_rows_of_log(lake, one) for one in (RAW_ORDERS, raw))
        each = of_all / max(orders, 1)
        placed = {day: round(count * each) for day, count in entries.iter_rows()}
        rows = {day: max(rows.get(day, 0), placed.get(day, 0)) for day in {*rows, *placed}}
    return portions(rows, first, last, row_limit())


def _stored(lake: Lake, table: Table, first: date, last: date) -> dict[date, int]:
    files = files_of(lake.open(table), table).filter(pl.col("date").is_between(first, last))
    return dict(files.group_by("date").agg(pl.col("rows").sum()).iter_rows())


def _rows_of_log(lake: Lake, table: Table) -> int:
    return int(files_of(lake.open(table), table)["rows"].sum())
