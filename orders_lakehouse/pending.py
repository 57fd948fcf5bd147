"""Dates that wait for a run, and those that a run works on: what a sensor remembers between its ticks. Pure.

A date is pending until a run that began after it was noted has succeeded. What is noted while a run works on the date
waits for the next one. A failed run's dates are asked for again, later each time; those that its checks found bad run
alone, so that they keep nobody else waiting.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any

from orders_lakehouse.dates import days, spans

# A date that is derived again costs less than the start of a run: near dates are joined, with those between them.
GAP = timedelta(days=60)
# First pause after a failure; it doubles with each further one, up to the longest.
_PAUSE, _LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=6)
_DAY = timedelta(days=1)

Range = tuple[date, date]


class Ended(Enum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class Turn:
    """When a waiting date may be asked for.

    Attributes:
        attempt: Runs that have failed on it.
        not_before: The earliest instant.
        alone: A check found the date bad: it is not joined with others.
    """

    attempt: int
    not_before: datetime
    alone: bool = False


@dataclass(frozen=True)
class Asked:
    """A run that was asked for.

    Attributes:
        run_key: Its key, which is never used again.
        first: First date.
        last: Last date.
        attempt: Runs that had failed on its dates before.
        since: When it was asked for.
    """

    run_key: str
    first: date
    last: date
    attempt: int
    since: datetime

    def __contains__(self, day: date) -> bool:
        """Whether the run works on a date."""
        return self.first <= day <= self.last


@dataclass(frozen=True)
class Pending:
    """What a sensor remembers.

    Attributes:
        marks: How far it has looked, by table.
        waiting: Dates that wait, and when their turn is.
        asked: Runs that have not ended yet.
        count: Runs asked for so far.
    """

    marks: Mapping[str, Any] = field(default_factory=dict)
    waiting: Mapping[date, Turn] = field(default_factory=dict)
    asked: Sequence[Asked] = ()
    count: int = 0

    def note(self, dates: Iterable[date], marks: Mapping[str, Any], now: datetime) -> "Pending":
        """With dates that something new was found for, and how far was looked.

        A date that waits already keeps its turn, unless it had failed: what is new may have mended it.
        """
        fresh = {day: Turn(0, now) for day in dates}
        standing = {day: turn for day, turn in self.waiting.items() if day not in fresh or turn.attempt == 0}
        return replace(self, marks=marks, waiting={**fresh, **standing})

    def settle(self, ended: Mapping[str, Ended], bad: Mapping[str, Sequence[date]], now: datetime) -> "Pending":
        """After some runs have ended.

        Args:
            ended: How they ended, by run key.
            bad: Dates that their checks found bad, by run key.
            now: The instant.
        """
        waiting = dict(self.waiting)
        for run in self.asked:
            if ended.get(run.run_key) is not Ended.FAILED:
                continue
            blamed = {day for day in bad.get(run.run_key, ()) if day in run}
            for day in days(run.first, run.last):
                # What was noted since the run began has its turn already.
                if day in waiting:
                    continue
                if day in blamed:
                    waiting[day] = Turn(run.attempt + 1, now + pause(run.attempt + 1), alone=True)
                elif blamed:
                    waiting[day] = Turn(run.attempt, now)
                else:
                    waiting[day] = Turn(run.attempt + 1, now + pause(run.attempt + 1))
        return replace(self, waiting=waiting, asked=[run for run in self.asked if run.run_key not in ended])

    def ask(self, now: datetime, name: str) -> tuple["Pending", list[Asked]]:
        """Ask for the dates whose turn it is, in as few ranges as possible, once the runs before have ended.

        What is noted meanwhile is asked for together: a run costs far more than a date.

        Args:
            now: The instant.
            name: What run keys begin with.
        """
        if self.asked:
            return self, []
        ready = {day: turn for day, turn in self.waiting.items() if turn.not_before <= now}
        closed = {day for day, turn in self.waiting.items() if day not in ready or turn.alone}
        together = ranges([day for day, turn in ready.items() if not turn.alone], GAP, closed)
        alone = spans(day for day, turn in ready.items() if turn.alone)
        asked = [
            Asked(
                # A cursor that is lost counts from nought again, and Dagster skips a key that it has met.
                f"{name}:{int(now.timestamp())}:{self.count + number}",
                first,
                last,
                max(turn.attempt for day, turn in ready.items() if first <= day <= last),
                now,
            )
            for number, (first, last) in enumerate(sorted([*together, *alone]))
        ]
        taken = {day for run in asked for day in self.waiting if day in run}
        waiting = {day: turn for day, turn in self.waiting.items() if day not in taken}
        return replace(self, waiting=waiting, asked=asked, count=self.count + len(asked)), asked

    def to_json(self) -> str:
        """As a sensor's cursor: sorted, with consecutive dates of one turn as a range."""
        turns: dict[Turn, list[date]] = {}
        for day, turn in self.waiting.items():
            turns.setdefault(turn, []).append(day)
        waiting = sorted(
            [str(first), str(last), turn.attempt, turn.not_before.isoformat(), turn.alone]
            for turn, noted in turns.items()
            for first, last in spans(noted)
        )
        asked = [[run.run_key, str(run.first), str(run.last), run.attempt, run.since.isoformat()] for run in self.asked]
        return json.dumps(
            {"marks": self.marks, "waiting": waiting, "asked": asked, "count": self.count}, sort_keys=True
        )

    @classmethod
    def from_json(cls, cursor: str | None) -> "Pending | None":
        """What a cursor says; None for none."""
        if not cursor:
            return None
        said = json.loads(cursor)
        waiting = {
            day: Turn(attempt, datetime.fromisoformat(not_before), alone)
            for first, last, attempt, not_before, alone in said["waiting"]
            for day in days(date.fromisoformat(first), date.fromisoformat(last))
        }
        asked = [
            Asked(key, date.fromisoformat(first), date.fromisoformat(last), attempt, datetime.fromisoformat(since))
            for key, first, last, attempt, since in said["asked"]
        ]
        return cls(said["marks"], waiting, asked, said["count"])


def pause(attempt: int) -> timedelta:
    """How long a date waits after so many failed runs."""
    doubled: timedelta = _PAUSE * 2 ** min(attempt - 1, 20)
    return min(doubled, _LONGEST_PAUSE)


def ranges(dates: Iterable[date], gap: timedelta, closed: Iterable[date]) -> list[Range]:
    """Dates as ranges, each as long as possible.

    Args:
        dates: The dates.
        gap: Dates that are so far apart at most are joined, with those between them.
        closed: Dates over which nothing is joined.
    """
    barriers = set(closed)
    found: list[Range] = []
    for day in sorted(set(dates)):
        if found and day - found[-1][1] <= gap and barriers.isdisjoint(days(found[-1][1] + _DAY, day - _DAY)):
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found
