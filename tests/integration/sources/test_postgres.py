"""Reading the shop: what a window holds, what odd values become, and what a shop that does not fit is told."""

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest
from adbc_driver_postgresql import dbapi

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.raw import LINEAGE
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.entities.customers import RAW_CUSTOMERS
from orders_lakehouse.entities.order_items import RAW_ORDER_ITEMS
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.entities.payments import RAW_PAYMENTS
from orders_lakehouse.entities.products import RAW_PRODUCTS
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.postgres.connections import DatabaseError, DatabaseUnavailableError, connect
from orders_lakehouse.settings import settings
from orders_lakehouse.sources import batches
from orders_lakehouse.sources.base import Batch, Window
from orders_lakehouse.sources.postgres import versions as source
from orders_lakehouse.sources.postgres.versions import read_versions
from orders_lakehouse.tables import RAW
from tests.support.calendars import ZONES, calendar_in, moved
from tests.support.rows import at, on

SCHEMA = resources.files("orders_lakehouse.sample_shop").joinpath("schema.sql").read_text()
SECRET = "s3cr3t"
UTC_FROM_2017 = Calendar(on("2017-01-01"), "UTC")
DAY = on("2020-03-02")


@dataclass(frozen=True)
class Shop:
    """A shop's database."""

    url: str

    def run(self, script: str) -> None:
        with dbapi.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.executescript(script)
            connection.commit()

    def order(self, order_id: str, updated_at: str, **more: str) -> None:
        names = ["order_id", "updated_at", *more]
        values = [f"'{order_id}'", updated_at, *more.values()]
        self.run(f"INSERT INTO shop.orders ({', '.join(names)}) VALUES ({', '.join(values)})")


pytestmark = pytest.mark.usefixtures("clean_settings")


@pytest.fixture(scope="module")
def database(postgres_url_factory: Callable[[str], str]) -> str:
    return postgres_url_factory("source")


@pytest.fixture
def shop(database: str, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop of the right shape without rows."""
    monkeypatch.setenv("SHOP_DATABASE_URL", database)
    made = Shop(database)
    made.run(f"DROP SCHEMA IF EXISTS shop CASCADE; DROP TYPE IF EXISTS mood; {SCHEMA}")
    return made


def _read(table: Table, first: date, last: date | None = None, calendar: Calendar = UTC_FROM_2017) -> pl.DataFrame:
    found = list(read_versions(table, Window(first, last or first, calendar)))
    frame = pl.concat([batch.rows for batch in found])
    assert {batch.in_window for batch in found} == {frame.height}
    return frame


def _ids(first: date, last: date | None = None, calendar: Calendar = UTC_FROM_2017) -> list[str]:
    return sorted(_read(RAW_ORDERS, first, last, calendar)["order_id"])


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
        assert [_ids(day, calendar=calendar) for day in days] == [["a"], ["b", "c"], ["d"]]
        assert _ids(days[0], days[-1], calendar) == ["a", "b", "c", "d"]
        assert _read(RAW_ORDERS, DAY, calendar=calendar)["captured_on"].to_list() == [DAY, DAY]

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
            frame = _read(RAW_ORDERS, day, calendar=calendar)
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
        frame = _read(RAW_ORDERS, start).sort("order_id")
        assert frame.select("order_id", "captured_on").rows() == [(n, start) for n in ("ancient", "before", "first")]
        assert frame["updated_at"][0] == at("1950-01-01 00:00")
        assert _ids(start + timedelta(days=1)) == []

    def test_fast_clock_is_captured_as_of_today_only(self, shop: Shop) -> None:
        shop.order("ahead", "now() + interval '25 hours'")
        shop.order("far ahead", "now() + interval '100 years'")
        today = datetime.now(UTC).date()
        one_day = timedelta(days=1)
        for first, last in ((today, today), (today - one_day, today + one_day)):
            frame = _read(RAW_ORDERS, first, last)
            assert sorted(frame["order_id"]) == ["ahead", "far ahead"]
            assert set(frame["captured_on"]) == {today}
        assert _ids(today - timedelta(days=30), today - timedelta(days=1)) == []
        assert _ids(today + timedelta(days=1), today + timedelta(days=40_000)) == []

    def test_row_without_clock_is_captured_today_or_refused(self, shop: Shop) -> None:
        shop.run("ALTER TABLE shop.orders ALTER updated_at DROP NOT NULL")
        shop.order("timeless", "null")
        try:
            found = _ids(UTC_FROM_2017.start, datetime.now(UTC).date())
        except DatabaseError as refusal:
            assert "updated_at" in str(refusal)  # noqa: PT017 (one of two ways to be loud)
        else:
            assert found == ["timeless"]

    def test_clock_within_a_day_of_now_is_captured_at_its_own_date(self, shop: Shop) -> None:
        shop.order("soon", "now() + interval '23 hours'")
        now = datetime.now(UTC)
        frame = _read(RAW_ORDERS, now.date() - timedelta(days=1), now.date() + timedelta(days=2))
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
        assert _ids(DAY) == ["counted"]

    def test_every_row_has_the_source_clock_of_one_snapshot(self, shop: Shop) -> None:
        for name in ("a", "b"):
            shop.order(name, "'2020-03-02'")
        before = datetime.now(UTC)
        frame = _read(RAW_ORDERS, DAY)
        (captured_at,) = set(frame["captured_at"])
        assert before - timedelta(seconds=5) < captured_at < datetime.now(UTC) + timedelta(seconds=5)
        assert set(frame["source"]) == {"shop"}


class TestValues:
    def test_infinity_and_years_beyond_count_as_the_ends_of_time(self, shop: Shop) -> None:
        shop.run("""
            INSERT INTO shop.customers (customer_id, date_of_birth, registered_at, updated_at) VALUES
              ('a', '-infinity', '-infinity', '2020-03-02'),
              ('b', 'infinity', 'infinity', '2020-03-02'),
              ('c', '4713-01-01 BC', '4713-01-01 BC', '2020-03-02'),
              ('d', '5874897-01-01', '294276-01-01', '2020-03-02'),
              ('e', '0001-01-01', '9999-12-31 00:00+00', '2020-03-02'),
              ('f', null, null, '2020-03-02')
        """)
        frame = _read(RAW_CUSTOMERS, DAY).sort("customer_id")
        first, last = on("0001-01-01"), on("9999-12-31")
        assert frame["date_of_birth"].to_list() == [first, last, first, last, first, None]
        earliest, latest = at("0001-01-01 00:00"), at("9999-12-31 00:00")
        assert frame["registered_at"].to_list() == [earliest, latest, earliest, latest, latest, None]

    def test_infinite_change_clock_is_captured(self, shop: Shop) -> None:
        shop.order("never", "'-infinity'")
        shop.order("always", "'infinity'")
        start, today = UTC_FROM_2017.start, datetime.now(UTC).date()
        found = _read(RAW_ORDERS, start, today).sort("order_id").select("order_id", "captured_on", "updated_at").rows()
        assert found == [
            ("always", today, at("9999-12-31 00:00")),
            ("never", start, at("0001-01-01 00:00")),
        ]

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("'NaN'", "NaN"),
            ("'Infinity'", "Infinity"),
            ("1.10", "1.10"),
            ("-0.00", "0.00"),
            ("1e20", "100000000000000000000"),
            ("0.12345678901234567890123456789", "0.12345678901234567890123456789"),
            ("null", None),
        ],
    )
    def test_number_keeps_every_digit(self, shop: Shop, value: str, expected: str | None) -> None:
        shop.run("ALTER TABLE shop.payments ALTER amount TYPE numeric")
        shop.run(f"INSERT INTO shop.payments (payment_id, amount, updated_at) VALUES ('y', {value}, '2020-03-02')")
        assert _read(RAW_PAYMENTS, DAY)["amount"].to_list() == [expected]

    def test_text_comes_as_it_is(self, shop: Shop) -> None:
        shop.order(" Ö''1 \n", "'2020-03-02'", status="''", currency="' eur'", customer_id="E'\\u2028'")
        (row,) = _read(RAW_ORDERS, DAY).to_dicts()
        assert row["order_id"] == " Ö'1 \n"
        assert (row["status"], row["currency"], row["customer_id"]) == ("", " eur", "\u2028")

    def test_deleted_rows_are_read_like_any_other(self, shop: Shop) -> None:
        shop.order("gone", "'2020-03-02 12:00+00'", deleted_at="'2020-03-02 11:00+00'")
        assert _read(RAW_ORDERS, DAY)["deleted_at"].to_list() == [at("2020-03-02 11:00")]


class TestOtherShapes:
    @pytest.mark.parametrize(
        ("key", "value", "expected"),
        [
            ("bigint", "9223372036854775807", "9223372036854775807"),
            ("integer", "7", "7"),
            ("smallint", "-1", "-1"),
            ("numeric", "12.50", "12.50"),
            ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            ("varchar(20)", "'k '", "k "),
            ("mood", "'fine'", "fine"),
        ],
    )
    def test_keys_of_other_types_come_as_text_through_a_view(
        self, shop: Shop, key: str, value: str, expected: str
    ) -> None:
        shop.run(f"""
            CREATE TYPE mood AS ENUM ('fine');
            ALTER TABLE shop.products RENAME TO old_products;
            CREATE VIEW shop.products AS
              SELECT {value}::{key} AS product_id, product_name, category, manufacturer,
                     7::smallint AS unit_price, currency, timestamptz '2020-03-02' AS updated_at,
                     deleted_at, 'surplus' AS surplus
              FROM (SELECT 1) AS one LEFT JOIN shop.old_products ON true
        """)
        frame = _read(RAW_PRODUCTS, DAY)
        assert frame.select("product_id", "unit_price").rows() == [(expected, "7")]
        assert "surplus" not in frame.columns

    @pytest.mark.parametrize("table", RAW, ids=lambda table: table.name)
    def test_missing_table_is_named_with_its_expected_columns(self, shop: Shop, table: Table) -> None:
        shop.run(f"DROP TABLE shop.{table.name}")
        with pytest.raises(DatabaseError) as raised:
            _read(table, DAY)
        message = str(raised.value)
        assert f"the shop has no table shop.{table.name}" in message
        assert "SHOP_DATABASE_URL" in message
        for name in set(table.columns) - set(LINEAGE):
            assert name in message

    def test_column_that_is_not_there_is_named(self, shop: Shop) -> None:
        shop.run("ALTER TABLE shop.orders DROP COLUMN ordered_at")
        with pytest.raises(DatabaseError) as raised:
            _read(RAW_ORDERS, DAY)
        message = str(raised.value)
        assert "shop.orders" in message
        assert "column ordered_at: expected timestamptz" in message
        assert "found no such column" in message
        assert "offer a view" in message

    @pytest.mark.parametrize(
        ("table", "column", "dtype", "expected"),
        [
            (RAW_ORDERS, "ordered_at", "timestamp", "expected timestamptz (a timestamp without a zone has no instant)"),
            (RAW_ORDERS, "updated_at", "date", "expected timestamptz"),
            (RAW_ORDERS, "order_id", "bytea", "expected text"),
            (RAW_ORDERS, "status", "text[]", "expected text"),
            (RAW_ORDERS, "status", "boolean", "expected text"),
            (RAW_ORDER_ITEMS, "unit_price", "double precision", "expected numeric"),
            (RAW_ORDER_ITEMS, "discount", "text", "expected numeric"),
            (RAW_ORDER_ITEMS, "quantity", "double precision", "expected numeric or an integer type"),
            (RAW_ORDER_ITEMS, "line_number", "numeric", "expected integer"),
            (RAW_CUSTOMERS, "date_of_birth", "timestamptz", "expected date"),
            (RAW_PAYMENTS, "amount", "money", "expected numeric"),
        ],
        ids=lambda value: value if isinstance(value, str) else getattr(value, "name", None),
    )
    def test_column_of_wrong_type_is_named_with_both_types(
        self, shop: Shop, table: Table, column: str, dtype: str, expected: str
    ) -> None:
        shop.run(f"""
            ALTER TABLE shop.{table.name} DROP COLUMN {column} CASCADE;
            ALTER TABLE shop.{table.name} ADD COLUMN {column} {dtype};
        """)
        with pytest.raises(DatabaseError) as raised:
            _read(table, DAY)
        message = str(raised.value)
        assert f"shop.{table.name} does not have the shape" in message
        assert f"column {column}: {expected}" in message
        found = {"timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone"}
        assert f"found {'ARRAY' if dtype.endswith('[]') else found.get(dtype, dtype)}" in message

    def test_every_misfit_is_named_at_once(self, shop: Shop) -> None:
        shop.run("""
            ALTER TABLE shop.payments DROP COLUMN amount;
            ALTER TABLE shop.payments ALTER paid_at TYPE timestamp, ALTER method TYPE boolean USING null;
        """)
        with pytest.raises(DatabaseError, match=r"column method.*column amount.*column paid_at"):
            _read(RAW_PAYMENTS, DAY)


class TestBatches:
    @pytest.fixture
    def large(self, shop: Shop) -> Shop:
        # The driver hands over at least 16 MB at a time.
        shop.run("""
            INSERT INTO shop.products (product_id, product_name, updated_at)
            SELECT n, repeat('x', 1000), timestamptz '2020-03-02' + n % 500 * interval '1 minute'
            FROM generate_series(1, 40000) AS n
        """)
        return shop

    @pytest.mark.usefixtures("large")
    def test_large_window_comes_in_batches_with_the_same_rows(self, monkeypatch: pytest.MonkeyPatch) -> None:
        window = Window(DAY, DAY, UTC_FROM_2017)
        (whole,) = read_versions(RAW_PRODUCTS, window)
        monkeypatch.setattr(source, "BATCH_ROWS", 1000)
        found = list(read_versions(RAW_PRODUCTS, window))
        assert len(found) > 1
        assert all(batch.rows.height >= 1000 for batch in found[:-1])
        assert {batch.in_window for batch in found} == {whole.in_window} == {40_000}
        joined = pl.concat([batch.rows for batch in found])
        assert joined.drop("captured_at").sort("product_id").equals(whole.rows.drop("captured_at").sort("product_id"))

    def test_batches_follow_the_dates_and_share_none(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        shop.run("""
            INSERT INTO shop.products (product_id, updated_at)
            SELECT n, timestamptz '2020-03-02' + n % 3 * interval '1 day' FROM generate_series(1, 300) AS n
        """)
        days = [DAY + number * timedelta(days=1) for number in range(3)]
        for rows, expected in ((150, [days[:1], days[1:2], days[2:]]), (200, [days[:2], days[2:]]), (300, [days])):
            monkeypatch.setattr(source, "BATCH_ROWS", rows)
            found = read_versions(RAW_PRODUCTS, Window(DAY, on("2020-12-31"), UTC_FROM_2017))
            assert [batch.rows["captured_on"].unique().sort().to_list() for batch in found] == expected

    def test_wide_rows_come_in_batches_of_bounded_bytes(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        shop.run("""
            ALTER TABLE shop.products ADD note text;
            INSERT INTO shop.products (product_id, updated_at, note)
            SELECT n, timestamptz '2020-03-02' + n % 4 * interval '1 day', repeat(md5(n::text), 900)
            FROM generate_series(1, 400) AS n
        """)
        monkeypatch.setattr(batches, "_FIRST_ROWS", 100)
        monkeypatch.setattr(source, "batch_bytes", lambda: 4_000_000)
        found = list(read_versions(RAW_PRODUCTS, Window(DAY, on("2020-12-31"), UTC_FROM_2017)))
        days = [DAY + number * timedelta(days=1) for number in range(4)]
        assert [batch.rows["captured_on"].unique().to_list() for batch in found] == [[day] for day in days]
        assert [batch.extras["note"].str.len_bytes().sum() for batch in found] == [100 * 28_800] * 4

    def test_write_between_two_batches_is_not_read(self, large: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(source, "BATCH_ROWS", 1000)
        reader = read_versions(RAW_PRODUCTS, Window(DAY, DAY, UTC_FROM_2017))
        found: list[Batch] = [next(reader)]
        large.run("""
            UPDATE shop.products SET product_name = 'changed';
            INSERT INTO shop.products (product_id, updated_at) VALUES ('late', '2020-03-02');
        """)
        found += reader
        frame = pl.concat([batch.rows for batch in found])
        assert frame.height == found[0].in_window == 40_000
        assert "changed" not in frame["product_name"]
        assert frame["captured_at"].n_unique() == 1


class TestConnections:
    @staticmethod
    def _failure(monkeypatch: pytest.MonkeyPatch, url: str) -> ExpectedError:
        monkeypatch.setenv("SHOP_DATABASE_URL", url)
        settings.cache_clear()
        with pytest.raises(ExpectedError) as raised:
            _read(RAW_ORDERS, DAY)
        return raised.value

    def test_silent_server_may_be_tried_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        failure = self._failure(monkeypatch, f"postgresql://reader:{SECRET}@127.0.0.1:1/shop")
        assert isinstance(failure, DatabaseUnavailableError)
        assert "the shop database (host=127.0.0.1 port=1 dbname=shop user=reader) cannot be reached" in str(failure)
        assert "Connection refused" in str(failure)
        assert "is SHOP_DATABASE_URL right?" in str(failure)
        assert SECRET not in str(failure)

    def test_missing_socket_may_be_tried_again(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        failure = self._failure(monkeypatch, f"postgresql://reader@/shop?host={quote(str(tmp_path), safe='/')}")
        assert isinstance(failure, DatabaseUnavailableError)

    @pytest.mark.parametrize(
        ("user", "database", "refusal"),
        [
            ("nobody", "postgres", 'role "nobody" does not exist'),
            ("postgres", "nothing", 'database "nothing" does not'),
        ],
    )
    def test_wrong_user_or_database_is_refused_for_good(
        self, monkeypatch: pytest.MonkeyPatch, postgres_server: str, user: str, database: str, refusal: str
    ) -> None:
        url = f"postgresql://{user}:{SECRET}@/{database}?host={quote(postgres_server, safe='/')}"
        failure = self._failure(monkeypatch, url)
        assert isinstance(failure, DatabaseError)
        assert refusal in str(failure)
        assert "Correct SHOP_DATABASE_URL." in str(failure)
        assert SECRET not in str(failure)

    def test_wrong_password_is_refused_for_good(
        self, monkeypatch: pytest.MonkeyPatch, postgres_server: str, guarded_role: str
    ) -> None:
        url = f"postgresql://{guarded_role}:{SECRET}@/postgres?host={quote(postgres_server, safe='/')}"
        failure = self._failure(monkeypatch, url)
        assert isinstance(failure, DatabaseError)
        assert "password authentication failed" in str(failure)
        assert "Correct SHOP_DATABASE_URL." in str(failure)
        assert SECRET not in str(failure)

    @pytest.mark.parametrize(
        "url",
        [
            f"postgresql://reader@127.0.0.1:1/shop?password={SECRET}",
            f"postgresql://reader:x@127.0.0.1:1/shop?sslpassword={SECRET}",
            f"postgresql://reader:a#{SECRET}@127.0.0.1:1/shop",
            f"postgresql://reader:a/{SECRET}@127.0.0.1:1/shop",
            f"postgresql://reader:a?{SECRET}@127.0.0.1:1/shop",
            f"postgresql://reader:a@{SECRET}@127.0.0.1:1/shop",
            f"postgresql://reader:a%{SECRET}@127.0.0.1:1/shop",
            f"postgresql:/reader:{SECRET}@127.0.0.1:1/shop",
        ],
    )
    def test_no_message_shows_a_password(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        assert SECRET not in str(self._failure(monkeypatch, url))

    def test_url_that_cannot_be_read_is_refused_for_good(self, monkeypatch: pytest.MonkeyPatch) -> None:
        failure = self._failure(monkeypatch, "postgresql://reader@127.0.0.1:port/shop")
        assert isinstance(failure, DatabaseError)

    @pytest.mark.usefixtures("shop")
    def test_statement_that_fails_is_refused_for_good(self) -> None:
        with pytest.raises(DatabaseError, match=r"refuses a statement: .*no_such_table"), connect("shop") as connection:
            connection.cursor().execute("SELECT * FROM no_such_table")

    def test_cut_connection_may_be_tried_again(self, shop: Shop) -> None:
        def outlive(connection: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_backend_pid()")
                (process,) = cursor.fetchone()
                shop.run(f"SELECT pg_terminate_backend({process})")
                cursor.execute("SELECT 1")
                cursor.fetchall()

        with pytest.raises(DatabaseUnavailableError), connect("shop") as connection:
            outlive(connection)

    def test_session_is_in_utc_whatever_the_database_prefers(self, shop: Shop) -> None:
        name = shop.url.split("@/")[1].split("?")[0]
        shop.run(f"ALTER DATABASE \"{name}\" SET timezone = 'Asia/Tokyo'")
        with connect("shop") as connection, connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('TimeZone')")
            assert cursor.fetchone() == ("UTC",)
        shop.run(f'ALTER DATABASE "{name}" RESET timezone')


@pytest.fixture
def guarded_role(postgres_server: str) -> str:
    """A role that needs its password, where the server of the tests trusts everybody else."""
    name = "guarded"
    url = f"postgresql://postgres@/postgres?host={quote(postgres_server, safe='/')}"
    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('hba_file')")
        (file,) = cursor.fetchone()
        cursor.execute(f"SELECT count(*) FROM pg_roles WHERE rolname = '{name}'")
        if cursor.fetchone() == (0,):
            cursor.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'right'")
        rules = Path(file)
        line = f"local all {name} scram-sha-256\n"
        if line not in rules.read_text():
            rules.write_text(line + rules.read_text())
        cursor.execute("SELECT pg_reload_conf()")
        cursor.fetchall()
        for _ in range(100):
            cursor.execute(f"SELECT count(*) FROM pg_hba_file_rules WHERE user_name = '{{{name}}}'")
            if cursor.fetchone() == (1,):
                break
            time.sleep(0.02)
    time.sleep(0.1)
    return name
