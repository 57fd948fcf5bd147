"""A range of dates in portions that fit into memory, worked through one after the other, each atomic.

A portion is as many dates as have so many rows, whatever their number: a date on which everybody buys counts for what
it holds. One date is never divided.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from itertools import pairwise

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.tables import KEY_DATES, ORDERS, RAW_OF, RAW_ORDERS, Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.lake.delta import Lake, Replaced, files_of, rows_of
from orders_lakehouse.memory import memory_limit

# Portions that a step works on at once, and steps that may do so.
_AT_ONCE, _STEPS = 2, 2
# More rows in a portion are no faster.
_MOST_ROWS = 300_000
# What a process holds before it has read a row, and what a row takes while a table with many columns is derived.
_FIXED_BYTES, _ROW_BYTES = 700_000_000, 1_500

Span = tuple[date, date]


def replace_range(
    lake: Lake,
    tables: Sequence[Table],
    spans: Sequence[Span],
    derive: Callable[[Lake, date, date], Sequence[Frame]],
    run_id: str = "",
) -> list[Replaced]:
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

    def work(span: Span) -> list[Replaced]:
        return lake.replace_dates(tables, *span, lambda source: derive(source, *span), run_id)

    # While one portion is written, the next one is derived. They share no date, so neither waits for the other.
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="portion") as workers:
        by_table = zip(*workers.map(work, spans), strict=True)
        return [
            Replaced(
                pl.concat(one.by_date for one in done),
                next((one.sample for one in done if one.sample.height), done[0].sample),
                pl.concat(one.changed for one in done).unique().sort(),
            )
            for done in by_table
        ]


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
    return max(1, min(_MOST_ROWS, (memory_limit() - _FIXED_BYTES) // (_STEPS * _AT_ONCE * _ROW_BYTES)))


def portions_of_rows(lake: Lake, table: Table, first: date, last: date) -> list[Span]:
    """A range in portions by the rows that a table has of each date."""
    if not lake.in_portions:
        return [(first, last)]
    return portions(_stored(lake, table, first, last), first, last, row_limit())


def portions_of_versions(lake: Lake, table: Table, first: date, last: date) -> list[Span]:
    """A range in portions by the versions in raw that each date of a cleansed table is derived from.

    Where rows count by the date of their order, that is estimated: each order has as many lines as another.
    """
    if not lake.in_portions:
        return [(first, last)]
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
