"""Versions that a window of dates holds."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.postgres.connections import DatabaseError
from orders_lakehouse.sources.base import Window
from orders_lakehouse.sources.postgres import versions as source
from orders_lakehouse.sources.postgres.versions import read_versions
from orders_lakehouse.tables import RAW
from tests.support.calendars import ZONES, calendar_in, moved
from tests.support.postgres_source import DAY, UTC_FROM_2017, Shop, ids, read
from tests.support.rows import at, on

pytestmark = pytest.mark.usefixtures("clean_settings")


class TestWindows:
    @pytest.mark.parametrize(
        ("timezone", "midnight"),
        [
            ("UTC", "2020-03-02 00:00+00"),
            ("Europe/Berlin", "2020-03-01 23:00+00"),
            ("America/New_York", "2020-03-02 05:00+00"),
            ("Asia/Kathmandu", "2020-03-01 18:15+00"),
        ],
    )
    def test_day_begins_and_ends_at_midnight_where_the_lake_is(self, shop: Shop, timezone: str, midnight: str) -> None:
        shop.run(f"""
            INSERT INTO shop.orders (order_id, updated_at)
            SELECT name, timestamptz '{midnight}' + moment
            FROM (VALUES ('a', interval '-1 microsecond'), ('b', interval '0'),
                         ('c', interval '1 day - 1 microsecond'), ('d', interval '1 day')) AS t (name, moment)
        """)
        calendar = calendar_in(timezone, on("2017-01-01"))
        days = [DAY - timedelta(days=1), DAY, DAY + timedelta(days=1)]
        assert [ids(day, calendar=calendar) for day in days] == [["a"], ["b", "c"], ["d"]]
        assert ids(days[0], days[-1], calendar) == ["a", "b", "c", "d"]
        assert read(RAW_ORDERS, DAY, calendar=calendar)["captured_on"].to_list() == [DAY, DAY]

    @pytest.mark.parametrize(
        ("timezone", "first"),
        [
            ("Europe/Berlin", "2020-03-27"),
            ("Europe/Berlin", "2020-10-23"),
            ("America/Sao_Paulo", "2018-11-02"),
            ("America/Sao_Paulo", "2018-02-16"),
            ("Pacific/Apia", "2011-12-28"),
            ("Australia/Lord_Howe", "2020-04-03"),
        ],
    )
    def test_every_version_is_read_in_the_window_of_its_date_only(self, shop: Shop, timezone: str, first: str) -> None:
        dice = random.Random(first)  # noqa: S311 (a sample, not a secret)
        start = datetime.fromisoformat(first).replace(tzinfo=UTC)
        instants = [start + timedelta(microseconds=dice.randrange(5 * 86_400 * 10**6)) for _ in range(100)]
        instants += [start + timedelta(hours=hour) for hour in range(120)]
        rows = ", ".join(f"('o{number}', '{instant.isoformat()}')" for number, instant in enumerate(instants))
        shop.run(f"INSERT INTO shop.orders (order_id, updated_at) VALUES {rows}")
        calendar = calendar_in(timezone, on("2010-01-01"))
        found: list[str] = []
        for more in range(-2, 8):
            day = start.date() + timedelta(days=more)
            frame = read(RAW_ORDERS, day, calendar=calendar)
            assert set(frame["captured_on"]) <= {day}
            for clock in frame["updated_at"]:
                assert calendar.date_of(clock) == day
            found += frame["order_id"].to_list()
        assert sorted(found) == sorted(f"o{number}" for number in range(len(instants)))

    @pytest.mark.parametrize("timezone", ZONES)
    def test_shop_counts_by_midnights_of_the_lake(self, shop: Shop, timezone: str) -> None:
        dice = random.Random(timezone)  # noqa: S311 (a sample, not a secret)
        first = on("2011-12-20")
        of_machine = calendar_in(timezone, first)
        # Zone data by which half of the dates begin at another time.
        by = timedelta(seconds=dice.choice((-1, 1)) * dice.randrange(1, 40_000))
        of_lake = moved(of_machine, on("2011-12-28"), on("2012-01-02"), by)
        edges = [of_lake.begins_at(first + timedelta(days=more)) for more in range(-3, 25)]
        instants = [edge + timedelta(microseconds=more) for edge in edges for more in (-1, 0, 1)]
        instants += [edge + timedelta(seconds=dice.randrange(86_400)) for edge in edges for _ in range(5)]
        rows = ", ".join(f"('o{number}', '{instant.isoformat()}')" for number, instant in enumerate(instants))
        shop.run(f"INSERT INTO shop.orders (order_id, updated_at) VALUES {rows}, ('o', '-infinity'), ('p', 'infinity')")
        expected = Counter(max(of_lake.date_of(instant), first) for instant in instants) + Counter([first])
        for calendar in (of_lake, of_machine):
            (batch,) = read_versions(RAW_ORDERS, Window(first, on("2012-01-20"), calendar))
            by_date = dict(batch.counted.iter_rows())
            assert by_date == dict(batch.rows.group_by("captured_on").len().iter_rows())
            if calendar is of_lake:
                assert by_date == {day: count for day, count in expected.items() if day <= on("2012-01-20")}
        (one_date,) = read_versions(RAW_ORDERS, Window(on("2012-01-01"), on("2012-01-01"), of_lake))
        assert dict(one_date.counted.iter_rows()) == {on("2012-01-01"): expected[on("2012-01-01")]}

    def test_first_window_is_open_and_captures_at_the_start(self, shop: Shop) -> None:
        shop.order("ancient", "'1950-01-01'")
        shop.order("before", "'2016-12-31 23:59:59.999999+00'")
        shop.order("first", "'2017-01-01 12:00+00'")
        start = UTC_FROM_2017.start
        frame = read(RAW_ORDERS, start).sort("order_id")
        assert frame.select("order_id", "captured_on").rows() == [(n, start) for n in ("ancient", "before", "first")]
        assert frame["updated_at"][0] == at("1950-01-01 00:00")
        assert ids(start + timedelta(days=1)) == []

    def test_fast_clock_is_captured_as_of_today_only(self, shop: Shop) -> None:
        shop.order("ahead", "now() + interval '25 hours'")
        shop.order("far ahead", "now() + interval '100 years'")
        today = datetime.now(UTC).date()
        one_day = timedelta(days=1)
        for first, last in ((today, today), (today - one_day, today + one_day)):
            frame = read(RAW_ORDERS, first, last)
            assert sorted(frame["order_id"]) == ["ahead", "far ahead"]
            assert set(frame["captured_on"]) == {today}
        assert ids(today - timedelta(days=30), today - timedelta(days=1)) == []
        assert ids(today + timedelta(days=1), today + timedelta(days=40_000)) == []

    def test_row_without_clock_is_captured_today_or_refused(self, shop: Shop) -> None:
        shop.run("ALTER TABLE shop.orders ALTER updated_at DROP NOT NULL")
        shop.order("timeless", "null")
        try:
            found = ids(UTC_FROM_2017.start, datetime.now(UTC).date())
        except DatabaseError as refusal:
            assert "updated_at" in str(refusal)  # noqa: PT017 (one of two ways to be loud)
        else:
            assert found == ["timeless"]

    def test_clock_within_a_day_of_now_is_captured_at_its_own_date(self, shop: Shop) -> None:
        shop.order("soon", "now() + interval '23 hours'")
        now = datetime.now(UTC)
        frame = read(RAW_ORDERS, now.date() - timedelta(days=1), now.date() + timedelta(days=2))
        assert frame["captured_on"].to_list() == [(now + timedelta(hours=23)).date()]

    @pytest.mark.usefixtures("shop")
    @pytest.mark.parametrize("table", RAW, ids=lambda table: table.name)
    def test_empty_window_is_one_empty_batch_of_the_right_types(self, table: Table) -> None:
        (batch,) = read_versions(table, Window(DAY, DAY, UTC_FROM_2017))
        assert batch.in_window == 0
        assert batch.rows.is_empty()
        expected = {name: dtype for name, dtype in table.schema.items() if name != "run_id"}
        assert dict(batch.rows.schema) == expected

    def test_write_between_count_and_read_is_in_neither(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        shop.order("counted", "'2020-03-02'")
        ask = source.value_of

        def write_meanwhile(cursor: Any, query: str) -> Any:
            answer = ask(cursor, query)
            if "count(*)" in query:
                shop.order("late", "'2020-03-02'")
            return answer

        monkeypatch.setattr(source, "value_of", write_meanwhile)
        assert ids(DAY) == ["counted"]

    def test_every_row_has_the_source_clock_of_one_snapshot(self, shop: Shop) -> None:
        for name in ("a", "b"):
            shop.order(name, "'2020-03-02'")
        before = datetime.now(UTC)
        frame = read(RAW_ORDERS, DAY)
        (captured_at,) = set(frame["captured_at"])
        assert before - timedelta(seconds=5) < captured_at < datetime.now(UTC) + timedelta(seconds=5)
        assert set(frame["source"]) == {"shop"}
