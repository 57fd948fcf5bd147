"""Dates that wait: none is forgotten, none is asked for while a run works on it, bad ones keep nobody waiting."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orders_lakehouse.dates import days
from orders_lakehouse.pending import GAP, Ended, Pending, pause, ranges

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
    noted = Pending().note([START, START + GAP, START + 2 * GAP + DAY], {}, NOON)
    _, asked = noted.ask(NOON, "sensor")
    assert [(run.first, run.last) for run in asked] == [
        (START, START + GAP),
        (START + 2 * GAP + DAY, START + 2 * GAP + DAY),
    ]


def test_a_year_is_one_range() -> None:
    _, asked = Pending().note(days(START, date(2017, 12, 31)), {}, NOON).ask(NOON, "sensor")
    assert [(run.first, run.last) for run in asked] == [(START, date(2017, 12, 31))]


def test_what_is_noted_while_a_run_works_waits_for_the_next() -> None:
    state, (run,) = Pending().note([START], {}, NOON).ask(NOON, "sensor")
    state = state.note([START], {}, NOON)
    state, asked = state.ask(NOON, "sensor")
    assert asked == []
    state, (again,) = state.settle({run.run_key: Ended.SUCCEEDED}, {}, NOON).ask(NOON, "sensor")
    assert (again.first, again.last) == (START, START)
    assert again.run_key != run.run_key


def test_bad_dates_run_alone_and_later_and_the_others_at_once() -> None:
    week = days(START, START + 6 * DAY)
    bad = week[3]
    state, (run,) = Pending().note(week, {}, NOON).ask(NOON, "sensor")
    state, asked = state.settle({run.run_key: Ended.FAILED}, {run.run_key: [bad]}, NOON).ask(NOON, "sensor")
    assert [(one.first, one.last) for one in asked] == [(week[0], week[2]), (week[4], week[6])]
    later = NOON + pause(1)
    state = state.settle({one.run_key: Ended.SUCCEEDED for one in asked}, {}, later)
    state, (alone,) = state.ask(later, "sensor")
    assert (alone.first, alone.last, alone.attempt) == (bad, bad, 1)


def test_a_change_of_a_bad_date_is_its_turn() -> None:
    state, (run,) = Pending().note([START], {}, NOON).ask(NOON, "sensor")
    state = state.settle({run.run_key: Ended.FAILED}, {run.run_key: [START]}, NOON).note([START], {}, NOON)
    _, asked = state.ask(NOON, "sensor")
    assert [(one.first, one.attempt) for one in asked] == [(START, 0)]


def test_a_date_that_waits_keeps_its_turn_however_often_it_changes() -> None:
    state = Pending().note([START], {}, NOON).note([START], {}, NOON + timedelta(hours=1))
    assert state.waiting[START].not_before == NOON


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 30), (2, 60), (5, 480), (100, 21600)])
def test_pauses_double_up_to_six_hours(attempt: int, seconds: int) -> None:
    assert pause(attempt) == timedelta(seconds=seconds)


def test_a_cursor_that_was_never_written_is_none() -> None:
    assert Pending.from_json(None) is None
    assert Pending.from_json("") is None


def test_who_has_lost_its_cursor_uses_no_run_key_again() -> None:
    """Dagster skips a request with a used one, and the dates would wait for a run that ended long ago."""
    _, (before,) = Pending().note([START], {}, NOON).ask(NOON, "sensor")
    later = NOON + timedelta(seconds=5)
    _, (after,) = Pending().note([START], {}, later).ask(later, "sensor")
    assert before.run_key != after.run_key


class Sensor(RuleBasedStateMachine):
    """Ticks, changes and ends of runs in any order, with a cursor that is written and read each time."""

    def __init__(self) -> None:
        super().__init__()
        self.state = Pending()
        self.now = NOON
        # What a model knows: dates whose last change no run has seen through.
        self.unseen: set[date] = set()
        self.at_work: dict[str, set[date]] = {}
        self.keys: set[str] = set()

    def keep(self, state: Pending) -> None:
        read = Pending.from_json(state.to_json())
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
        state, asked = self.state.ask(self.now, "sensor")
        busy = set().union(*(days(run.first, run.last) for run in self.state.asked))
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
        (run,) = [run for run in self.state.asked if run.run_key == key]
        bad = (
            [] if success else data.draw(st.lists(st.sampled_from(days(run.first, run.last)), max_size=3, unique=True))
        )
        how = Ended.SUCCEEDED if success else Ended.FAILED
        self.keep(self.state.settle({key: how}, {key: bad}, self.now))
        seen = self.at_work.pop(key)
        if success:
            self.unseen -= seen

    @invariant()
    def no_date_is_forgotten(self) -> None:
        under_way = set().union(*self.at_work.values()) if self.at_work else set()
        assert self.unseen <= set(self.state.waiting) | under_way

    def teardown(self) -> None:
        for _ in range(60):
            self.tick(30_000)
            self.keep(self.state.settle(dict.fromkeys(self.at_work, Ended.SUCCEEDED), {}, self.now))
            for seen in self.at_work.values():
                self.unseen -= seen
            self.at_work.clear()
        assert self.unseen == set()
        assert not self.state.waiting


TestSensor = Sensor.TestCase
