"""Dates as stretches, and as people write them."""

from collections.abc import Iterable
from datetime import date, timedelta

_DAY = timedelta(days=1)


def spans(dates: Iterable[date]) -> list[tuple[date, date]]:
    """Dates as stretches of consecutive ones: first and last date of each, in order."""
    found: list[tuple[date, date]] = []
    for day in sorted(set(dates)):
        if found and day - found[-1][1] == _DAY:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def in_words(dates: Iterable[date]) -> str:
    """Dates as people write them: 2017-01-10, 2017-01-27 to 2017-01-30."""
    return ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in spans(dates))


def from_words(said: str) -> list[date]:
    """The dates that `in_words` wrote, in order."""
    found = []
    for stretch in filter(None, said.split(", ")):
        first, _, last = stretch.partition(" to ")
        begins = date.fromisoformat(first)
        length = (date.fromisoformat(last or first) - begins).days + 1
        found += [begins + number * _DAY for number in range(length)]
    return found
