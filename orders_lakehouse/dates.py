"""Dates in a row, as stretches, and as people write them."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from itertools import pairwise

_DAY = timedelta(days=1)
# Years that a date or an instant of a lake may be of: what is added to them stays within Python's and Delta's.
YEARS = range(1900, 2200)
YEARS_IN_WORDS = f"{YEARS[0]} to {YEARS[-1]}"


def days(first: date, last: date) -> list[date]:
    """Every date from the first to the last."""
    return [first + number * _DAY for number in range((last - first).days + 1)]


def spans(dates: Iterable[date]) -> list[tuple[date, date]]:
    """Dates as stretches of consecutive ones: first and last date of each, in order."""
    found: list[tuple[date, date]] = []
    for day in sorted(set(dates)):
        if found and day - found[-1][1] == _DAY:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def bridged(stretches: Sequence[tuple[date, date]], most: int) -> list[tuple[date, date]]:
    """Stretches of dates, of which those with the narrowest gaps between them are joined.

    Args:
        stretches: First and last date of each, in order.
        most: How many may be left.
    """
    gaps = [(after[0] - before[1], number) for number, (before, after) in enumerate(pairwise(stretches), start=1)]
    cuts = sorted(number for _, number in sorted(gaps, reverse=True)[: most - 1])
    return [
        (stretches[begin][0], stretches[end - 1][1]) for begin, end in pairwise([0, *cuts, len(stretches)]) if stretches
    ]


def in_words(dates: Iterable[date]) -> str:
    """Dates as people write them: 2017-01-10, 2017-01-27 to 2017-01-30."""
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in spans(dates))


def from_words(said: str) -> list[date]:
    """The dates that `in_words` wrote, in order."""
    found = []
    for stretch in filter(None, said.split(", ")):
        first, _, last = stretch.partition(" to ")
        found += days(date.fromisoformat(first), date.fromisoformat(last or first))
    return found
