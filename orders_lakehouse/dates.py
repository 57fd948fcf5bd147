"""Sequences and spans of dates, and their form for people."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from itertools import pairwise

_DAY = timedelta(days=1)
# Years of dates and instants in a lake. The range leaves room for additions within the limits of Python and Delta.
YEARS = range(1900, 2200)
YEARS_IN_WORDS = f"{YEARS[0]} to {YEARS[-1]}"


def days(first: date, last: date) -> list[date]:
    """Return every date from the first to the last."""
    return [first + number * _DAY for number in range((last - first).days + 1)]


def spans(dates: Iterable[date]) -> list[tuple[date, date]]:
    """Return dates as spans of consecutive dates: first and last date of each, in order."""
    result: list[tuple[date, date]] = []
    for day in sorted(set(dates)):
        if result and day - result[-1][1] == _DAY:
            result[-1] = (result[-1][0], day)
        else:
            result.append((day, day))
    return result


def bridged(date_spans: Sequence[tuple[date, date]], most: int) -> list[tuple[date, date]]:
    """Join spans of dates across the narrowest gaps until few enough are left.

    Args:
        date_spans: First and last date of each, in order.
        most: Most spans to return.
    """
    gaps = [(after[0] - before[1], number) for number, (before, after) in enumerate(pairwise(date_spans), start=1)]
    cuts = sorted(number for _, number in sorted(gaps, reverse=True)[: most - 1])
    return [
        (date_spans[begin][0], date_spans[end - 1][1])
        for begin, end in pairwise([0, *cuts, len(date_spans)])
        if date_spans
    ]


def in_words(dates: Iterable[date]) -> str:
    """Return dates as people write them: 2017-01-10, 2017-01-27 to 2017-01-30."""
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in spans(dates))


def newest_in_words(dates: Iterable[date], most: int = 3) -> str:
    """Return the newest spans of dates as people write them, the newest first, and how many earlier dates there are."""
    newest = spans(dates)[::-1]
    earlier = sum((last - first).days + 1 for first, last in newest[most:])
    shown = ", ".join(in_words(days(*span)) for span in newest[:most])
    return f"{shown}, and {earlier:,} earlier {'date' if earlier == 1 else 'dates'}" if earlier else shown


def from_words(text: str) -> list[date]:
    """Return the dates in a text of `in_words`, in order."""
    dates = []
    for span in filter(None, text.split(", ")):
        first, _, last = span.partition(" to ")
        dates += days(date.fromisoformat(first), date.fromisoformat(last or first))
    return dates
