"""When a version of a dimension matters, and which rows are new."""

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities import customers
from orders_lakehouse.entities.customers import CUSTOMERS
from orders_lakehouse.entities.order_items import RAW_ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.entities.payments import RAW_PAYMENTS
from orders_lakehouse.pipeline.affected_dates import WATCHED, affected_dates, affected_spans, versions_now
from orders_lakehouse.pipeline.capture import capture
from tests.support import rows
from tests.support.calendars import calendar_in


def at(number: int) -> datetime:
    return datetime(2017, 1, number, 23, 30, tzinfo=UTC)


def on(number: int | None) -> date | None:
    return None if number is None else date(2017, 1, number)


def versions(*shown: tuple[int, str]) -> pl.DataFrame:
    """Versions of a customer: day of the clock, and what the customer's city is from then on."""
    return rows.rows(CUSTOMERS, *({"updated_at": at(number), "city": city} for number, city in shown))


@pytest.mark.parametrize(
    ("before", "now", "spans"),
    [
        # The only version, appeared or gone.
        ([], [(3, "a")], [(None, None)]),
        ([(3, "a")], [], [(None, None)]),
        # The newest of several.
        ([(3, "a")], [(3, "a"), (7, "b")], [(7, None)]),
        ([(3, "a"), (7, "b")], [(3, "a")], [(7, None)]),
        # One in between.
        ([(3, "a"), (7, "c")], [(3, "a"), (5, "b"), (7, "c")], [(5, 7)]),
        # One before all others: what was valid from the beginning begins at its own clock now.
        ([(7, "b"), (9, "c")], [(3, "a"), (7, "b"), (9, "c")], [(None, 7), (None, 9), (7, 9)]),
        # Nothing but a clock.
        ([(3, "a")], [(3, "a"), (7, "a")], []),
        ([(3, "a"), (7, "b")], [(3, "a"), (5, "a"), (7, "b")], []),
        # The version after it joins the one that came, as do all that follow and are equal.
        (
            [(3, "a"), (7, "b"), (8, "b"), (9, "c")],
            [(3, "a"), (5, "b"), (7, "b"), (8, "b"), (9, "c")],
            [(5, 9), (7, 9)],
        ),
        # A member is parted in three, and joined again.
        ([(3, "a"), (7, "a"), (9, "c")], [(3, "a"), (5, "b"), (7, "a"), (9, "c")], [(5, 7), (7, 9)]),
        ([(3, "a"), (5, "b"), (7, "a"), (9, "c")], [(3, "a"), (7, "a"), (9, "c")], [(5, 7), (7, 9)]),
    ],
)
def test_dates_of_a_member_missing_on_one_side_are_affected(
    before: list[tuple[int, str]], now: list[tuple[int, str]], spans: list[tuple[int | None, int | None]]
) -> None:
    found = affected_spans(versions(*before), versions(*now), customers.ENTITY, calendar_in("UTC"))
    assert set(found.rows()) == {("c1", on(first), on(last)) for first, last in spans}


_HISTORIES = st.lists(st.tuples(st.integers(1, 9), st.sampled_from("ab")), max_size=7)


@settings(max_examples=200)
@given(before=_HISTORIES, now=_HISTORIES)
def test_only_dates_with_a_changed_member_are_affected(
    before: list[tuple[int, str]], now: list[tuple[int, str]]
) -> None:
    spans = affected_spans(versions(*before), versions(*now), customers.ENTITY, calendar_in("UTC")).rows()
    midnight = datetime(2017, 1, 1, tzinfo=UTC)
    for hours in range(12 * 24):
        instant = midnight + timedelta(hours=hours)
        is_other = _member(before, instant) != _member(now, instant)
        touched = any((first or date.min) <= instant.date() <= (last or date.max) for _, first, last in spans)
        assert touched >= is_other
    # Nor is a date touched on which none begins or ends, if nothing of it is otherwise.
    turns = {number for number, _ in (*before, *now)}
    for number in set(range(1, 11)) - turns:
        is_other = _member(before, at(number)) != _member(now, at(number))
        assert is_other == any((first or date.min) <= on(number) <= (last or date.max) for _, first, last in spans)


def _member(history: list[tuple[int, str]], instant: datetime) -> tuple[datetime | None, str] | None:
    """When the member in force began (None: it is the first), and its city; of two versions of a day b counts."""
    latest = dict(sorted(history))
    member: tuple[datetime | None, str] | None = None
    for number, city in sorted(latest.items()):
        if member is None:
            member = None, city
        elif at(number) <= instant and city != member[1]:
            member = at(number), city
    return member


def test_dates_are_those_of_the_time_zone() -> None:
    both = versions((3, "a"), (5, "b"))
    found = affected_spans(both.head(1), both, customers.ENTITY, calendar_in("Europe/Berlin"))
    assert found.rows() == [("c1", date(2017, 1, 6), None)]


def test_all_rows_of_a_recreated_table_are_new(tmp_path: Path) -> None:
    lake, calendar = Lake(str(tmp_path / "lake"), "UTC"), Calendar(date(2017, 1, 1), "UTC")
    for table in (RAW_ORDERS, RAW_ORDER_ITEMS, RAW_PAYMENTS):
        lake.open(table)
    capture(lake, RAW_ORDERS, rows.rows(RAW_ORDERS, {}), calendar)
    marks = versions_now(lake)
    assert affected_dates(lake, marks, calendar) == []
    # As cursors had it before.
    alone = {table.path: marks[table.path][1] for table in WATCHED if table.path in marks}
    assert affected_dates(lake, alone, calendar) == []

    shutil.rmtree(lake.location(RAW_ORDERS))
    lake = Lake(str(tmp_path / "lake"), "UTC")
    capture(lake, RAW_ORDERS, rows.rows(RAW_ORDERS, {}, {"order_id": "o2"}), calendar)
    again = versions_now(lake)
    assert again != marks
    assert again[RAW_ORDERS.path][1] == marks[RAW_ORDERS.path][1]
    assert affected_dates(lake, marks, calendar) == [rows.on("2020-03-02")]


def test_differently_split_members_affect_dates_naming_them(tmp_path: Path) -> None:
    """Each version was a member once: the keys of those that are none any more stand in facts."""
    lake, calendar = Lake(str(tmp_path / "lake"), "UTC"), Calendar(date(2017, 1, 1), "UTC")
    lake.append(CUSTOMERS, versions((3, "a"), (5, "a"), (7, "b")))
    for number in (2, 4, 6, 8):
        lake.append(ORDERS, rows.rows(ORDERS, {"order_id": f"o{number}", "order_date": on(number)}))
    lake.append(ORDERS, rows.rows(ORDERS, {"order_id": "guest", "customer_id": None, "order_date": on(5)}))
    marks = versions_now(lake)
    assert affected_dates(lake, marks, calendar) == []
    before = {name: said for name, said in marks.items() if not name.endswith(" by")}
    assert affected_dates(lake, before, calendar) == [on(6)]
    # By other attributes than today's: here, by nothing that ever changed, and by a column that is gone.
    other = {**marks, "cleansed/customers by": ["attributes", ["email", "no such column"]]}
    assert affected_dates(lake, other, calendar) == [on(8)]
