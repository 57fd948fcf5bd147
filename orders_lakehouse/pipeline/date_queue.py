"""State of a sensor between its ticks: dates that wait for a run, and requested runs. All functions are pure.

A date stays in the queue until a run succeeds that began after the date was noted. So a date that is noted while a run
works on it waits for the next run. The dates of a failed run are requested again after growing pauses. Dates that
checks found bad run alone, so that they do not delay others. Failures of a date are counted until a run of it succeeds.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any, TypeVar

from orders_lakehouse.dates import days, spans

# Largest distance between two dates that one run joins: deriving the dates between them costs less than another run.
GAP = timedelta(days=60)
# First and longest pause after a failure; the pause doubles with each further failure.
_PAUSE, _LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=6)
_DAY = timedelta(days=1)
# Number of failed runs in a row at which a date is reported.
REPEATED = 3

Range = tuple[date, date]


class Ended(Enum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class QueuedDate:
    """When a waiting date may be requested.

    Attributes:
        attempt: Number of runs that have failed on the date.
        not_before: The earliest instant at which it may be requested.
        alone: Whether the date runs alone, because a check found it bad.
    """

    attempt: int
    not_before: datetime
    alone: bool = False


@dataclass(frozen=True)
class RequestedRun:
    """A run that was requested.

    Attributes:
        run_key: Its key, which is never used again.
        first: First date.
        last: Last date.
        attempt: Number of runs that had failed on its dates before.
        since: When it was requested.
    """

    run_key: str
    first: date
    last: date
    attempt: int
    since: datetime

    def __contains__(self, day: date) -> bool:
        """Return whether the run works on a date."""
        return self.first <= day <= self.last


@dataclass(frozen=True)
class Failure:
    """Failed runs of a date since its last successful run.

    Attributes:
        attempts: Number of runs that have failed.
        since: When the first failed run was requested.
        run_id: The last failed run; None when Dagster does not know it.
        error: Error of the last failed run.
    """

    attempts: int
    since: datetime
    run_id: str | None
    error: str


@dataclass(frozen=True)
class Failed:
    """A run that has failed.

    Attributes:
        run_id: Its id; None when Dagster does not know it.
        error: Its error.
    """

    run_id: str | None = None
    error: str = ""


@dataclass(frozen=True)
class DateQueue:
    """State of a sensor.

    Attributes:
        marks: How far the sensor has looked, by table.
        waiting: Dates that wait, and when each may be requested.
        requested: Runs that have not ended yet.
        count: Number of runs requested so far.
        failures: Dates on which the last run failed, and their failures.
    """

    marks: Mapping[str, Any] = field(default_factory=dict)
    waiting: Mapping[date, QueuedDate] = field(default_factory=dict)
    requested: Sequence[RequestedRun] = ()
    count: int = 0
    failures: Mapping[date, Failure] = field(default_factory=dict)

    def note(self, dates: Iterable[date], marks: Mapping[str, Any], now: datetime) -> "DateQueue":
        """Add dates that have news, and record how far the sensor has looked.

        A date that waits already keeps its entry, unless a run has failed on it. Then it may run at once, because the
        news may have fixed the cause.
        """
        fresh = {day: QueuedDate(0, now) for day in dates}
        kept = {day: queued for day, queued in self.waiting.items() if day not in fresh or queued.attempt == 0}
        return replace(self, marks=marks, waiting={**fresh, **kept})

    def settle(
        self,
        ended: Mapping[str, Ended],
        bad: Mapping[str, Sequence[date]],
        now: datetime,
        failed: Mapping[str, Failed] | None = None,
    ) -> "DateQueue":
        """Apply the outcome of runs that have ended.

        Args:
            ended: Outcome by run key.
            bad: Dates that checks found bad, by run key.
            now: The current instant.
            failed: Details of the failed runs, by run key.
        """
        waiting, failures = dict(self.waiting), dict(self.failures)
        for run in self.requested:
            if ended.get(run.run_key) is Ended.SUCCEEDED:
                failures = {day: failure for day, failure in failures.items() if day not in run}
            if ended.get(run.run_key) is not Ended.FAILED:
                continue
            blamed = {day for day in bad.get(run.run_key, ()) if day in run}
            failed_run = (failed or {}).get(run.run_key, Failed())
            for day in sorted(blamed) or days(run.first, run.last):
                before = failures.get(day, Failure(0, run.since, None, ""))
                failures[day] = Failure(before.attempts + 1, before.since, failed_run.run_id, failed_run.error)
            for day in days(run.first, run.last):
                # A date noted since the run began waits already.
                if day in waiting:
                    continue
                if day in blamed:
                    waiting[day] = QueuedDate(run.attempt + 1, now + pause(run.attempt + 1), alone=True)
                elif blamed:
                    waiting[day] = QueuedDate(run.attempt, now)
                else:
                    waiting[day] = QueuedDate(run.attempt + 1, now + pause(run.attempt + 1))
        requested = [run for run in self.requested if run.run_key not in ended]
        return replace(self, waiting=waiting, requested=requested, failures=failures)

    def request(self, now: datetime, name: str) -> tuple["DateQueue", list[RequestedRun]]:
        """Request the dates that may run, in as few ranges as possible, once all earlier runs have ended.

        Dates noted while runs are active are requested together, because a run costs far more than a date.

        Args:
            now: The current instant.
            name: Prefix of run keys.
        """
        if self.requested:
            return self, []
        ready = {day: queued for day, queued in self.waiting.items() if queued.not_before <= now}
        closed = {day for day, queued in self.waiting.items() if day not in ready or queued.alone}
        together = ranges([day for day, queued in ready.items() if not queued.alone], GAP, closed)
        alone = spans(day for day, queued in ready.items() if queued.alone)
        requested = [
            RequestedRun(
                # The instant keeps keys unique: without its cursor the sensor counts from zero again, and Dagster
                # skips keys that it knows.
                f"{name}:{int(now.timestamp())}:{self.count + number}",
                first,
                last,
                max(queued.attempt for day, queued in ready.items() if first <= day <= last),
                now,
            )
            for number, (first, last) in enumerate(sorted([*together, *alone]))
        ]
        taken = {day for run in requested for day in self.waiting if day in run}
        waiting = {day: queued for day, queued in self.waiting.items() if day not in taken}
        return replace(self, waiting=waiting, requested=requested, count=self.count + len(requested)), requested

    def repeated_failures(self) -> list[tuple[Range, Failure]]:
        """Return dates with `REPEATED` or more failed runs in a row, in order; dates with equal failures as ranges."""
        return [(dates, failure) for dates, failure in _as_ranges(self.failures) if failure.attempts >= REPEATED]

    def to_json(self) -> str:
        """Write the sensor's cursor, sorted; consecutive dates with equal values become one range."""
        waiting = [
            [str(first), str(last), queued.attempt, queued.not_before.isoformat(), queued.alone]
            for (first, last), queued in _as_ranges(self.waiting)
        ]
        failures = [
            [str(first), str(last), failure.attempts, failure.since.isoformat(), failure.run_id, failure.error]
            for (first, last), failure in _as_ranges(self.failures)
        ]
        requested = [
            [run.run_key, str(run.first), str(run.last), run.attempt, run.since.isoformat()] for run in self.requested
        ]
        # Stored cursors call requested runs "asked".
        fields = {
            "marks": self.marks,
            "waiting": waiting,
            "asked": requested,
            "count": self.count,
            "failures": failures,
        }
        return json.dumps(fields, sort_keys=True)

    @classmethod
    def from_json(cls, cursor: str | None) -> "DateQueue | None":
        """Read a cursor; return None if there is none."""
        if not cursor:
            return None
        fields = json.loads(cursor)
        waiting = {
            day: QueuedDate(attempt, datetime.fromisoformat(not_before), alone)
            for first, last, attempt, not_before, alone in fields["waiting"]
            for day in days(date.fromisoformat(first), date.fromisoformat(last))
        }
        requested = [
            RequestedRun(
                key, date.fromisoformat(first), date.fromisoformat(last), attempt, datetime.fromisoformat(since)
            )
            for key, first, last, attempt, since in fields["asked"]
        ]
        failures = {
            day: Failure(attempts, datetime.fromisoformat(since), run_id, error)
            # Older cursors have no failures.
            for first, last, attempts, since, run_id, error in fields.get("failures", ())
            for day in days(date.fromisoformat(first), date.fromisoformat(last))
        }
        return cls(fields["marks"], waiting, requested, fields["count"], failures)


_Value = TypeVar("_Value", QueuedDate, Failure)


def _as_ranges(by_date: Mapping[date, _Value]) -> list[tuple[Range, _Value]]:
    """Return values by date in order, with consecutive dates of equal value as one range."""
    by_value: dict[_Value, list[date]] = {}
    for day, value in by_date.items():
        by_value.setdefault(value, []).append(day)
    in_ranges = [(dates, value) for value, days_ in by_value.items() for dates in spans(days_)]
    return sorted(in_ranges, key=lambda in_range: in_range[0])


def pause(attempt: int) -> timedelta:
    """Return the time that a date waits after a number of failed runs."""
    doubled: timedelta = _PAUSE * 2 ** min(attempt - 1, 20)
    return min(doubled, _LONGEST_PAUSE)


def ranges(dates: Iterable[date], gap: timedelta, closed: Iterable[date]) -> list[Range]:
    """Join dates into ranges, each as long as possible.

    Args:
        dates: The dates.
        gap: Largest distance between two dates that are joined; the dates between them belong to the range.
        closed: Dates that must not lie between two joined dates.
    """
    barriers = set(closed)
    joined: list[Range] = []
    for day in sorted(set(dates)):
        if joined and day - joined[-1][1] <= gap and barriers.isdisjoint(days(joined[-1][1] + _DAY, day - _DAY)):
            joined[-1] = (joined[-1][0], day)
        else:
            joined.append((day, day))
    return joined
