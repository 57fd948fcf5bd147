"""Dates that wait: none is forgotten, none is asked for while a run works on it, bad ones keep nobody waiting."""

import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orders_lakehouse.dates import days
from orders_lakehouse.pipeline.date_queue import GAP, DateQueue, Ended, Failed, Failure, QueuedDate, pause, ranges

DAY = timedelta(days=1)
START = date(2017, 1, 1)
NOON = datetime(2017, 6, 1, 12, tzinfo=UTC)
SOME_DATES = st.integers(0, 400).map(lambda number: START + number * DAY)


@given(st.sets(SOME_DATES, max_size=12), st.sets(SOME_DATES, max_size=12), st.integers(1, 90))
def test_ranges_are_as_few_as_may_be(dates: set[date], closed: set[date], gap: int) -> None:
    closed -= dates
    found = ranges(dates, gap * DAY, closed)
    covered = {day for first, last in found for day in days(first, last)}
    assert dates <= covered
    assert not covered & closed
    assert all(first in dates and last in dates for first, last in found)
    for (_, last), (first, _) in pairwise(found):
        assert first - last > gap * DAY or closed & set(days(last, first))


def test_near_dates_are_one_range_and_far_ones_are_not() -> None:
    noted = DateQueue().note([START, START + GAP, START + 2 * GAP + DAY], {}, NOON)
    _, asked = noted.request(NOON, "sensor")
    assert [(run.first, run.last) for run in asked] == [
        (START, START + GAP),
        (START + 2 * GAP + DAY, START + 2 * GAP + DAY),
    ]


def test_year_is_one_range() -> None:
    _, asked = DateQueue().note(days(START, date(2017, 12, 31)), {}, NOON).request(NOON, "sensor")
    assert [(run.first, run.last) for run in asked] == [(START, date(2017, 12, 31))]


def test_dates_noted_during_a_run_wait_for_the_next() -> None:
    state, (run,) = DateQueue().note([START], {}, NOON).request(NOON, "sensor")
    state = state.note([START], {}, NOON)
    state, asked = state.request(NOON, "sensor")
    assert asked == []
    state, (again,) = state.settle({run.run_key: Ended.SUCCEEDED}, {}, NOON).request(NOON, "sensor")
    assert (again.first, again.last) == (START, START)
    assert again.run_key != run.run_key


def test_bad_dates_run_alone_and_later_and_the_others_at_once() -> None:
    week = days(START, START + 6 * DAY)
    bad = week[3]
    state, (run,) = DateQueue().note(week, {}, NOON).request(NOON, "sensor")
    state, asked = state.settle({run.run_key: Ended.FAILED}, {run.run_key: [bad]}, NOON).request(NOON, "sensor")
    assert [(one.first, one.last) for one in asked] == [(week[0], week[2]), (week[4], week[6])]
    later = NOON + pause(1)
    state = state.settle({one.run_key: Ended.SUCCEEDED for one in asked}, {}, later)
    state, (alone,) = state.request(later, "sensor")
    assert (alone.first, alone.last, alone.attempt) == (bad, bad, 1)


def test_change_of_a_bad_date_makes_it_run() -> None:
    state, (run,) = DateQueue().note([START], {}, NOON).request(NOON, "sensor")
    state = state.settle({run.run_key: Ended.FAILED}, {run.run_key: [START]}, NOON).note([START], {}, NOON)
    _, asked = state.request(NOON, "sensor")
    assert [(one.first, one.attempt) for one in asked] == [(START, 0)]


def test_waiting_date_keeps_its_turn_despite_changes() -> None:
    state = DateQueue().note([START], {}, NOON).note([START], {}, NOON + timedelta(hours=1))
    assert state.waiting[START].not_before == NOON


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 30), (2, 60), (5, 480), (100, 21600)])
def test_pauses_double_up_to_six_hours(attempt: int, seconds: int) -> None:
    assert pause(attempt) == timedelta(seconds=seconds)


def test_unwritten_cursor_is_empty() -> None:
    assert DateQueue.from_json(None) is None
    assert DateQueue.from_json("") is None


def test_lost_cursor_reuses_no_run_key() -> None:
    """Dagster skips a request with a used one, and the dates would wait for a run that ended long ago."""
    _, (before,) = DateQueue().note([START], {}, NOON).request(NOON, "sensor")
    later = NOON + timedelta(seconds=5)
    _, (after,) = DateQueue().note([START], {}, later).request(later, "sensor")
    assert before.run_key != after.run_key


def failed_runs(state: DateQueue, times: int, error: str = "no shop", now: datetime = NOON) -> DateQueue:
    """The state after so many more runs have been asked for and failed, a day apart."""
    for number in range(times):
        state, runs = state.request(now + number * DAY, "sensor")
        ended = {run.run_key: Ended.FAILED for run in runs}
        failed = {run.run_key: Failed(f"run {number}", error) for run in runs}
        state = state.settle(ended, {}, now + number * DAY, failed)
    return state


def test_third_failed_run_in_a_row_counts_as_in_vain() -> None:
    noted = DateQueue().note([START, START + DAY], {}, NOON)
    assert failed_runs(noted, 2).repeated_failures() == []
    failure = Failure(3, NOON, "run 2", "no shop")
    assert failed_runs(noted, 3).repeated_failures() == [((START, START + DAY), failure)]


def test_new_change_of_a_date_keeps_its_failures() -> None:
    """The shop's running date changes all the time, and gets its turn at once each time."""
    state = DateQueue()
    for number in range(4):
        now = NOON + timedelta(minutes=number)
        state, (run,) = state.note([START], {}, now).request(now, "sensor")
        # It changes while the run works on it, too.
        state = state.note([START], {}, now)
        state = state.settle({run.run_key: Ended.FAILED}, {}, now, {run.run_key: Failed("run", "no shop")})
    assert state.repeated_failures() == [((START, START), Failure(4, NOON, "run", "no shop"))]
    assert state.waiting[START].attempt == 0


def test_after_a_success_nothing_is_in_vain() -> None:
    state = failed_runs(DateQueue().note([START, START + DAY], {}, NOON), 5)
    state, (run,) = state.request(NOON + 9 * DAY, "sensor")
    state = state.settle({run.run_key: Ended.SUCCEEDED}, {}, NOON + 9 * DAY)
    assert (state.repeated_failures(), state.failures) == ([], {})


def test_only_dates_that_checks_find_bad_are_blamed_for_a_run() -> None:
    state, bad = DateQueue().note(days(START, START + 2 * DAY), {}, NOON), START + DAY
    now = NOON
    for _ in range(4):
        state, runs = state.request(now, "sensor")
        of_bad = {run.run_key for run in runs if bad in run}
        ended = {run.run_key: Ended.FAILED if run.run_key in of_bad else Ended.SUCCEEDED for run in runs}
        by = dict.fromkeys(of_bad, Failed("run", "a check"))
        state = state.settle(ended, {key: [bad] for key in of_bad}, now, by)
        now += DAY
    assert state.repeated_failures() == [((bad, bad), Failure(4, NOON, "run", "a check"))]


def test_dates_with_different_errors_are_told_apart() -> None:
    state = failed_runs(DateQueue().note([START], {}, NOON), 3, "no shop")
    later = NOON + 3 * DAY
    state = failed_runs(state.note([START + GAP + 9 * DAY], {}, later), 3, "no warehouse", later)
    (first, failure), (_, other) = state.repeated_failures()
    assert first == (START, START)
    assert (failure.attempts, failure.since, failure.error) == (6, NOON, "no warehouse")
    assert (other.attempts, other.since) == (3, later)


def test_older_cursor_without_failures_can_be_read() -> None:
    written = (
        '{"asked": [["sensor:1:0", "2017-03-01", "2017-03-02", 2, "2017-06-01T12:00:00+00:00"]], "count": 1, '
        '"marks": {"raw/orders": ["id", 3]}, "waiting": [["2017-01-01", "2017-01-02", 4, "2017-06-01T12:00:00+00:00", '
        "true]]}"
    )
    state = DateQueue.from_json(written)
    assert state is not None
    assert state.failures == {}
    assert state.waiting == {day: QueuedDate(4, NOON, alone=True) for day in (START, START + DAY)}
    (run,) = state.requested
    assert (run.first, run.attempt, state.count) == (date(2017, 3, 1), 2, 1)
    # And it begins to remember.
    state = state.settle({run.run_key: Ended.FAILED}, {}, NOON, {run.run_key: Failed("run", "no shop")})
    assert state.failures[date(2017, 3, 2)] == Failure(1, NOON, "run", "no shop")


def test_older_program_can_read_a_cursor_with_failures() -> None:
    state = failed_runs(DateQueue().note([START], {}, NOON), 3)
    written = json.loads(state.to_json())
    assert set(written) == {"asked", "count", "failures", "marks", "waiting"}
    assert [len(one) for one in written["waiting"]] == [5]
    assert DateQueue.from_json(state.to_json()) == state


class Sensor(RuleBasedStateMachine):
    """Ticks, changes and ends of runs in any order, with a cursor that is written and read each time."""

    def __init__(self) -> None:
        super().__init__()
        self.state = DateQueue()
        self.now = NOON
        # What a model knows: dates whose last change no run has seen through.
        self.unseen: set[date] = set()
        self.at_work: dict[str, set[date]] = {}
        self.keys: set[str] = set()

    def keep(self, state: DateQueue) -> None:
        read = DateQueue.from_json(state.to_json())
        assert read is not None
        assert read.to_json() == state.to_json()
        self.state = read

    @rule(dates=st.sets(SOME_DATES, min_size=1, max_size=6))
    def change(self, dates: set[date]) -> None:
        self.keep(self.state.note(dates, {"raw/orders": len(self.unseen)}, self.now))
        self.unseen |= dates
        # A run that is at work may have read before the change.
        for seen in self.at_work.values():
            seen -= dates

    @rule(seconds=st.sampled_from([1, 40, 30_000]))
    def tick(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        state, asked = self.state.request(self.now, "sensor")
        busy = set().union(*(days(run.first, run.last) for run in self.state.requested))
        for run in asked:
            covered = set(days(run.first, run.last))
            assert not covered & busy
            assert run.run_key not in self.keys
            busy |= covered
            self.keys.add(run.run_key)
            self.at_work[run.run_key] = covered
        self.keep(state)

    @rule(data=st.data(), success=st.booleans())
    def end(self, data: st.DataObject, success: bool) -> None:
        if not self.at_work:
            return
        key = data.draw(st.sampled_from(sorted(self.at_work)))
        (run,) = [run for run in self.state.requested if run.run_key == key]
        bad = (
            [] if success else data.draw(st.lists(st.sampled_from(days(run.first, run.last)), max_size=3, unique=True))
        )
        how = Ended.SUCCEEDED if success else Ended.FAILED
        before = dict(self.state.failures)
        self.keep(self.state.settle({key: how}, {key: bad}, self.now, {} if success else {key: Failed(key, "why")}))
        for day in days(run.first, run.last):
            if not success and (day in bad or not bad):
                assert self.state.failures[day].attempts == (before[day].attempts if day in before else 0) + 1
            else:
                assert self.state.failures.get(day) == (None if success else before.get(day))
        seen = self.at_work.pop(key)
        if success:
            self.unseen -= seen

    @invariant()
    def no_date_is_forgotten(self) -> None:
        under_way = set().union(*self.at_work.values()) if self.at_work else set()
        assert self.unseen <= set(self.state.waiting) | under_way

    @invariant()
    def what_failed_is_tried_again(self) -> None:
        under_way = {day for run in self.state.requested for day in days(run.first, run.last)}
        assert set(self.state.failures) <= set(self.state.waiting) | under_way

    def teardown(self) -> None:
        for _ in range(60):
            self.tick(30_000)
            self.keep(self.state.settle(dict.fromkeys(self.at_work, Ended.SUCCEEDED), {}, self.now))
            for seen in self.at_work.values():
                self.unseen -= seen
            self.at_work.clear()
        assert self.unseen == set()
        assert not self.state.waiting
        assert not self.state.failures


TestSensor = Sensor.TestCase
