"""Split a range of dates into batches that fit into memory. Each batch is derived and committed on its own.

A batch takes dates until it reaches a number of rows, and a wide row counts as several. A date is never divided. If
one date needs more than its share of the memory, it waits until other batches release theirs. `machine/memory.py` says
how much memory there is, `row_widths.py` how wide rows are.
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
from orders_lakehouse.delta.replaced import Replaced
from orders_lakehouse.delta.row_widths import counted_rows
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.machine.memory import AT_ONCE, FIXED_BYTES, SHARES, memory_limit, share

# Most rows of a batch; larger batches are no faster.
_MOST_ROWS = 300_000
# Bytes of memory for each row of a table with many columns while it is derived. The smaller number holds for a large
# batch that runs alone, because it is written in pieces.
_ROW_BYTES, _ALONE_BYTES = 1_500, 700
_GIGABYTE = 1_000_000_000

Span = tuple[date, date]


class Batch(NamedTuple):
    """Dates that are derived and committed together.

    Attributes:
        span: First and last date.
        counted: Number of ordinary rows that take as much memory; 0 where the engine needs no batches.
    """

    span: Span
    counted: int = 0


def replace_range(
    lake: Lake,
    tables: Sequence[Table],
    batches: Sequence[Batch],
    derive: Callable[[Lake, date, date], Sequence[Frame]],
    run_id: str = "",
) -> list[Replaced]:
    """Replace a range of dates of some tables, batch by batch, as `Lake.replace_dates` does.

    Args:
        lake: The lake.
        tables: Targets, partitioned by a date.
        batches: The range in batches, in order.
        derive: Makes the new rows of each target from a snapshot of the lake, for a first and a last date.
        run_id: The run that replaces them.

    Returns:
        The outcome for each target.
    """

    def work(batch: Batch) -> list[Replaced]:
        span = batch.span
        with memory_for(batch):
            return lake.replace_dates(tables, *span, lambda source: derive(source, *span), run_id)

    # The next batch is derived while one is written. They share no date, so neither waits for the other.
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="batch") as workers:
        by_table = zip(*workers.map(work, batches), strict=True)
        return [
            Replaced(
                pl.concat(result.by_date for result in results),
                next((result.sample for result in reversed(results) if result.sample.height), results[0].sample),
                pl.concat(result.changed for result in results).unique().sort(),
            )
            for results in by_table
        ]


def batch_spans(rows: Mapping[date, int], first: date, last: date, limit: int) -> list[Span]:
    """Cut a range into spans of dates.

    Args:
        rows: Rows by date, for dates in the range; dates that are not listed have none.
        first: First date.
        last: Last date.
        limit: Most rows of a span; only a span of a single date may have more.

    Returns:
        First and last date of each span, in order. The spans cover the range and do not overlap.
    """
    begins, held = [first], 0
    for day in sorted(rows):
        if held and held + rows[day] > limit:
            begins.append(day)
            held = 0
        held += rows[day]
    ends = [begin - timedelta(days=1) for _, begin in pairwise(begins)]
    return list(zip(begins, [*ends, last], strict=True))


def memory_for(batch: Batch) -> AbstractContextManager[None]:
    """Reserve memory for a batch, and wait until there is enough; a thread reserves it for one batch at a time."""
    return SHARES.reserved(batch.counted * _ROW_BYTES)


def row_limit(most: int | None = None) -> int:
    """Return how many rows a batch may have in the memory that the settings allow; a wide row counts as several.

    Args:
        most: Number of rows above which batches get no faster; the default is the limit for deriving dates.
    """
    return max(1, min(_MOST_ROWS if most is None else most, share() // _ROW_BYTES))


def batches_by_rows(lake: Lake, table: Table, first: date, last: date) -> list[Batch]:
    """Cut a range into batches by the number of rows that a table has on each date."""
    if not lake.engine.needs_batches:
        return [Batch((first, last))]
    return cut(_counted(lake, table, first, last), first, last)


def memory_warning(lake: Lake, table: Table, source: Table, batches: Sequence[Batch]) -> str | None:
    """Return a warning about batches that need more memory than a run may use.

    Args:
        lake: The lake.
        table: The table that is derived.
        source: The table whose rows decide how the batches are cut.
        batches: The batches; only a single date can need too much.

    Returns:
        The need of the largest batch, and how many others need too much; None if there is enough for each.
    """
    beyond = [batch for batch in batches if _needed(batch) > memory_limit()]
    if not beyond:
        return None
    largest = max(beyond, key=_needed)
    (day, _), needed = largest.span, _needed(largest) / _GIGABYTE
    rows = _stored(lake, source, day, day).get(day, largest.counted)
    others = f" {len(beyond) - 1:,} other dates need more than that, too." if len(beyond) > 1 else ""
    return (
        f"{day} has {rows:,} rows of {source.path}: to derive {table.path} from them takes about {needed:.1f} GB, and "
        f"LAKEHOUSE_MEMORY_GB allows {memory_limit() / _GIGABYTE:.1f}.{others} A date is not divided, so the run goes "
        "on and takes this memory. If the machine has less, give it more and set "
        f"LAKEHOUSE_MEMORY_GB={ceil(needed)}, or derive on Spark (LAKEHOUSE_ENGINE, docs/scale.md)."
    )


def _needed(batch: Batch) -> int:
    """Return the bytes that a process holds while it works on this batch alone."""
    return FIXED_BYTES + batch.counted * _ALONE_BYTES


def cut(counted: Mapping[date, int], first: date, last: date) -> list[Batch]:
    """Cut a range into batches by the memory of each date, counted in ordinary rows."""
    spans = batch_spans(counted, first, last, row_limit())
    begins, held = [begin for begin, _ in spans], [0] * len(spans)
    for day, rows in counted.items():
        held[bisect_right(begins, day) - 1] += rows
    return [Batch(span, rows) for span, rows in zip(spans, held, strict=True)]


def _counted(lake: Lake, table: Table, first: date, last: date) -> dict[date, int]:
    counted = counted_rows(lake.open(table), table, within=pl.col("date").is_between(first, last))
    return dict(counted.select("date", "counted").iter_rows())


def _stored(lake: Lake, table: Table, first: date, last: date) -> dict[date, int]:
    files = files_of(lake.open(table), table).filter(pl.col("date").is_between(first, last))
    return dict(files.group_by("date").agg(pl.col("rows").sum()).iter_rows())
