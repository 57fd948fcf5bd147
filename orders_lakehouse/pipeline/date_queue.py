"""Dates that wait for a run, and those that a run works on: what a sensor remembers between its ticks. Pure.

A date is pending until a run that began after it was noted has succeeded. What is noted while a run works on the date
waits for the next one. A failed run's dates are asked for again, later each time; those that its checks found bad run
alone, so that they keep nobody else waiting. How often in a row runs have failed on a date, and by what, is remembered
until one succeeds, also when something new is noted for it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any, TypeVar

from orders_lakehouse.dates import days, spans

# A date that is derived again costs less than the start of a run: near dates are joined, with those between them.
GAP = timedelta(days=60)
# First pause after a failure; it doubles with each further one, up to the longest.
_PAUSE, _LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=6)
_DAY = timedelta(days=1)
# From so many failed runs in a row on, dates are asked for in vain.
IN_VAIN = 3

Range = tuple[date, date]


class Ended(Enum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class QueuedDate:
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
class RequestedRun:
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
class Failure:
    """What runs have come to on a date, since the last one that succeeded.

    Attributes:
        attempts: Runs that have failed.
        since: When the first of them was asked for.
        run_id: The last of them; None when it was nowhere to be found.
        error: What the last of them failed by.
    """

    attempts: int
    since: datetime
    run_id: str | None
    error: str


@dataclass(frozen=True)
class Failed:
    """A run that has failed.

    Attributes:
        run_id: Its id; None when it was nowhere to be found.
        error: What it failed by.
    """

    run_id: str | None = None
    error: str = ""


@dataclass(frozen=True)
class DateQueue:
    """What a sensor remembers.

    Attributes:
        marks: How far it has looked, by table.
        waiting: Dates that wait, and when their turn is.
        asked: Runs that have not ended yet.
        count: Runs asked for so far.
        failures: Dates on which the last run failed, and what it came to.
    """

    marks: Mapping[str, Any] = field(default_factory=dict)
    waiting: Mapping[date, QueuedDate] = field(default_factory=dict)
    asked: Sequence[RequestedRun] = ()
    count: int = 0
    failures: Mapping[date, Failure] = field(default_factory=dict)

    def note(self, dates: Iterable[date], marks: Mapping[str, Any], now: datetime) -> "DateQueue":
        """With dates that something new was found for, and how far was looked.

        A date that waits already keeps its turn, unless it had failed: what is new may have mended it.
        """
        fresh = {day: QueuedDate(0, now) for day in dates}
        standing = {day: turn for day, turn in self.waiting.items() if day not in fresh or turn.attempt == 0}
        return replace(self, marks=marks, waiting={**fresh, **standing})

    def settle(
        self,
        ended: Mapping[str, Ended],
        bad: Mapping[str, Sequence[date]],
        now: datetime,
        failed: Mapping[str, Failed] | None = None,
    ) -> "DateQueue":
        """After some runs have ended.

        Args:
            ended: How they ended, by run key.
            bad: Dates that their checks found bad, by run key.
            now: The instant.
            failed: What those that failed did so by, by run key.
        """
        waiting, failures = dict(self.waiting), dict(self.failures)
        for run in self.asked:
            if ended.get(run.run_key) is Ended.SUCCEEDED:
                failures = {day: failure for day, failure in failures.items() if day not in run}
            if ended.get(run.run_key) is not Ended.FAILED:
                continue
            blamed = {day for day in bad.get(run.run_key, ()) if day in run}
            by = (failed or {}).get(run.run_key, Failed())
            for day in sorted(blamed) or days(run.first, run.last):
                before = failures.get(day, Failure(0, run.since, None, ""))
                failures[day] = Failure(before.attempts + 1, before.since, by.run_id, by.error)
            for day in days(run.first, run.last):
                # What was noted since the run began has its turn already.
                if day in waiting:
                    continue
                if day in blamed:
                    waiting[day] = QueuedDate(run.attempt + 1, now + pause(run.attempt + 1), alone=True)
                elif blamed:
                    waiting[day] = QueuedDate(run.attempt, now)
                else:
                    waiting[day] = QueuedDate(run.attempt + 1, now + pause(run.attempt + 1))
        asked = [run for run in self.asked if run.run_key not in ended]
        return replace(self, waiting=waiting, asked=asked, failures=failures)

    def ask(self, now: datetime, name: str) -> tuple["DateQueue", list[RequestedRun]]:
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
            RequestedRun(
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

    def in_vain(self) -> list[tuple[Range, Failure]]:
        """Dates on which runs have failed again and again, in order, those with the same failure as ranges."""
        return [(dates, failure) for dates, failure in _as_ranges(self.failures) if failure.attempts >= IN_VAIN]

    def to_json(self) -> str:
        """As a sensor's cursor: sorted, with consecutive dates of one turn, or one failure, as a range."""
        waiting = [
            [str(first), str(last), turn.attempt, turn.not_before.isoformat(), turn.alone]
            for (first, last), turn in _as_ranges(self.waiting)
        ]
        failures = [
            [str(first), str(last), failure.attempts, failure.since.isoformat(), failure.run_id, failure.error]
            for (first, last), failure in _as_ranges(self.failures)
        ]
        asked = [[run.run_key, str(run.first), str(run.last), run.attempt, run.since.isoformat()] for run in self.asked]
        said = {"marks": self.marks, "waiting": waiting, "asked": asked, "count": self.count, "failures": failures}
        return json.dumps(said, sort_keys=True)

    @classmethod
    def from_json(cls, cursor: str | None) -> "DateQueue | None":
        """What a cursor says; None for none."""
        if not cursor:
            return None
        said = json.loads(cursor)
        waiting = {
            day: QueuedDate(attempt, datetime.fromisoformat(not_before), alone)
            for first, last, attempt, not_before, alone in said["waiting"]
            for day in days(date.fromisoformat(first), date.fromisoformat(last))
        }
        asked = [
            RequestedRun(
                key, date.fromisoformat(first), date.fromisoformat(last), attempt, datetime.fromisoformat(since)
            )
            for key, first, last, attempt, since in said["asked"]
        ]
        failures = {
            day: Failure(attempts, datetime.fromisoformat(since), run_id, error)
            # Cursors did not have them once.
            for first, last, attempts, since, run_id, error in said.get("failures", ())
            for day in days(date.fromisoformat(first), date.fromisoformat(last))
        }
        return cls(said["marks"], waiting, asked, said["count"], failures)


_Said = TypeVar("_Said", QueuedDate, Failure)


def _as_ranges(of_dates: Mapping[date, _Said]) -> list[tuple[Range, _Said]]:
    """What is said of dates, in their order, with consecutive dates of which the same is said as a range."""
    by_said: dict[_Said, list[date]] = {}
    for day, said in of_dates.items():
        by_said.setdefault(said, []).append(day)
    found = [(dates, said) for said, days_ in by_said.items() for dates in spans(days_)]
    return sorted(found, key=lambda one: one[0])


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
