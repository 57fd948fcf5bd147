"""A range of dates in portions that fit into memory, worked through one after the other, each atomic.

A portion is as many dates as have so many rows, whatever their number: a date on which everybody buys counts for what
it holds, and a wide row for several. One date is never divided; one that needs more than its share of the memory waits
until others need less.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import date, timedelta
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import polars as pl

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.delta.row_widths import counted_rows
from orders_lakehouse.delta.tables import Lake, Replaced, files_of
from orders_lakehouse.machine.memory import AT_ONCE, FIXED_BYTES, SHARES, memory_limit, share

# More rows in a portion are no faster.
_MOST_ROWS = 300_000
# What a row takes while a table with many columns is derived; and in a portion that is alone, and large enough to be
# written in pieces.
_ROW_BYTES, _ALONE_BYTES = 1_500, 700
_GIGABYTE = 1_000_000_000

Span = tuple[date, date]


class Portion(NamedTuple):
    """Dates that are worked on together.

    Attributes:
        span: First and last date.
        counted: Rows that they count for; none where a cluster works on them.
    """

    span: Span
    counted: int = 0


def replace_range(
    lake: Lake,
    tables: Sequence[Table],
    portions: Sequence[Portion],
    derive: Callable[[Lake, date, date], Sequence[Frame]],
    run_id: str = "",
) -> list[Replaced]:
    """Replace a range of dates of some tables, portion by portion, as `Lake.replace_dates` does.

    Args:
        lake: The lake.
        tables: Targets, partitioned by a date.
        portions: What of it is worked on together, in order.
        derive: Makes the new rows of each target from a lake that stands still, for a first and a last date.
        run_id: Run on whose behalf it is.

    Returns:
        What became of each target.
    """

    def work(portion: Portion) -> list[Replaced]:
        span = portion.span
        with in_turn(portion):
            return lake.replace_dates(tables, *span, lambda source: derive(source, *span), run_id)

    # While one portion is written, the next one is derived. They share no date, so neither waits for the other.
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="portion") as workers:
        by_table = zip(*workers.map(work, portions), strict=True)
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


def in_turn(portion: Portion) -> AbstractContextManager[None]:
    """Wait until there is memory for a portion; whoever has it asks for no other one."""
    return SHARES.lent(portion.counted * _ROW_BYTES)


def row_limit(most: int | None = None) -> int:
    """Rows of a portion at most, by the memory that the settings allow; a wide one counts for several.

    Args:
        most: More are no faster; as many as when dates are derived, if not given.
    """
    return max(1, min(_MOST_ROWS if most is None else most, share() // _ROW_BYTES))


def portions_of_rows(lake: Lake, table: Table, first: date, last: date) -> list[Portion]:
    """A range in portions by the rows that a table has of each date."""
    if not lake.in_portions:
        return [Portion((first, last))]
    return cut(_counted(lake, table, first, last), first, last)


def in_words(lake: Lake, table: Table, source: Table, portions: Sequence[Portion]) -> str | None:
    """What is to be known before it begins of portions that need more memory than a run may use.

    Args:
        lake: The lake.
        table: The table that is derived.
        source: The table that the portions are cut by.
        portions: The portions; one that needs so much is a single date.

    Returns:
        What the largest of them needs, and how many others do; None where there is enough for each.
    """
    beyond = [portion for portion in portions if _needed(portion) > memory_limit()]
    if not beyond:
        return None
    largest = max(beyond, key=_needed)
    (day, _), needed = largest.span, _needed(largest) / _GIGABYTE
    rows = _stored(lake, source, day, day).get(day, largest.counted)
    others = f" {len(beyond) - 1:,} other dates need more than that, too." if len(beyond) > 1 else ""
    return (
        f"{day} has {rows:,} rows of {source.path}: to derive {table.path} of them takes about {needed:.1f} GB, and "
        f"LAKEHOUSE_MEMORY_GB allows {memory_limit() / _GIGABYTE:.1f}.{others} A date is not divided: the run goes on, "
        f"and takes it. Where the machine has not that much, give it more and set LAKEHOUSE_MEMORY_GB={ceil(needed)}, "
        "or derive on Spark (LAKEHOUSE_ENGINE, docs/scale.md)."
    )


def _needed(portion: Portion) -> int:
    """Bytes that a process holds that works on a portion, and on no other one."""
    return FIXED_BYTES + portion.counted * _ALONE_BYTES


def cut(counted: Mapping[date, int], first: date, last: date) -> list[Portion]:
    """A range in portions by the rows that each date counts for in memory."""
    spans = portions(counted, first, last, row_limit())
    begins, held = [begin for begin, _ in spans], [0] * len(spans)
    for day, rows in counted.items():
        held[bisect_right(begins, day) - 1] += rows
    return [Portion(span, rows) for span, rows in zip(spans, held, strict=True)]


def _counted(lake: Lake, table: Table, first: date, last: date) -> dict[date, int]:
    counted = counted_rows(lake.open(table), table, within=pl.col("date").is_between(first, last))
    return dict(counted.select("date", "counted").iter_rows())


def _stored(lake: Lake, table: Table, first: date, last: date) -> dict[date, int]:
    files = files_of(lake.open(table), table).filter(pl.col("date").is_between(first, last))
    return dict(files.group_by("date").agg(pl.col("rows").sum()).iter_rows())
