"""Rows of a source in batches: by their number and by their bytes."""

from collections.abc import Iterator
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orders_lakehouse.dates import days
from orders_lakehouse.sources import batches
from orders_lakehouse.sources.batches import batch_bytes, in_batches
from tests.support.rows import on

FIRST, LAST = on("2020-01-01"), on("2020-01-31")
PIECE_ROWS = 7


class Source:
    """Rows with a date and a text, some wider than others; they come in pieces, as from a database."""

    def __init__(self, widths: dict[date, list[int]]) -> None:
        self.read_dates: list[tuple[date, date]] = []
        texts = [(day, "x" * width) for day, of_day in sorted(widths.items()) for width in of_day]
        self.rows = pl.DataFrame(texts, schema={"date": pl.Date, "text": pl.String}, orient="row")
        self.counted = {day: len(of_day) for day, of_day in widths.items() if of_day}

    def read(self, first: date, last: date) -> Iterator[pl.DataFrame]:
        self.read_dates.append((first, last))
        wanted = self.rows.filter(pl.col("date").is_between(first, last))
        # In memory of its own: a slice tells the bytes of all that it was cut out of.
        pieces = (pl.DataFrame(piece.rows(), schema=piece.schema, orient="row") for piece in self._pieces(wanted))
        yield from pieces

    @staticmethod
    def _pieces(rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
        return rows.iter_slices(PIECE_ROWS) if rows.height else iter(())

    def batches(self, most_rows: int, most_bytes: int) -> list[pl.DataFrame]:
        return list(in_batches(self.counted, (FIRST, LAST), self.read, most_rows, most_bytes))


def dates_of(batch: pl.DataFrame) -> list[date]:
    return batch["date"].unique().sort().to_list()


@given(
    widths=st.dictionaries(st.dates(FIRST, LAST), st.lists(st.integers(0, 300), max_size=20)),
    most_rows=st.integers(1, 60),
    most_bytes=st.integers(1, 5_000),
)
def test_batches_hold_every_row_once_and_no_more_than_they_may(
    widths: dict[date, list[int]], most_rows: int, most_bytes: int
) -> None:
    source = Source(widths)
    found = source.batches(most_rows, most_bytes)
    assert pl.concat([source.rows.clear(), *found]).equals(source.rows)
    # The piece that reaches the bound is the last one.
    widest = PIECE_ROWS * (300 + 40)
    assert all(batch.height and batch.height < most_rows + PIECE_ROWS for batch in found)
    assert all(batch.estimated_size() < most_bytes + widest for batch in found)
    # What is read covers the dates in order, and none of them twice.
    assert all(ends < begins for (_, ends), (begins, _) in zip(source.read_dates, source.read_dates[1:], strict=False))


def test_first_rows_tell_how_many_dates_are_read_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_FIRST_ROWS", PIECE_ROWS)
    source = Source({day: [1_000] * PIECE_ROWS for day in days(FIRST, FIRST + timedelta(days=9))})
    assert [len(dates_of(batch)) for batch in source.batches(1_000, 30_000)] == [3, 3, 3, 1]
    # The first date is not read again, nor is it a batch of its own.
    assert [(last - first).days for first, last in source.read_dates] == [0, 1, 2, 2, 21]


def test_ordinary_dates_come_in_the_fewest_batches() -> None:
    source = Source({day: [10] * PIECE_ROWS for day in days(FIRST, FIRST + timedelta(days=9))})
    assert [len(dates_of(batch)) for batch in source.batches(PIECE_ROWS * 4, 1_000_000)] == [4, 4, 2]


def test_dates_without_rows_are_not_read() -> None:
    source = Source({})
    assert source.batches(10, 1_000) == []
    assert source.read_dates == []


@pytest.mark.usefixtures("clean_settings")
@pytest.mark.parametrize(("gigabytes", "size"), [("1", 37_500_000), ("2.7", 250_000_000), ("64", 500_000_000)])
def test_batch_is_as_large_as_the_memory_allows(gigabytes: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_MEMORY_GB", gigabytes)
    assert batch_bytes() == size
