"""Databases of other encodings: text is what the shop means, bytes that are none are named, and nothing is lost."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import narwhals as nw
import polars as pl
import pytest
from adbc_driver_postgresql import dbapi
from psycopg2.extensions import encodings

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.encoding import BAD_BYTE, text_of
from orders_lakehouse.entities.customers import CUSTOMERS, RAW_CUSTOMERS
from orders_lakehouse.entities.order_items import ENTITY as ORDER_ITEMS_ENTITY
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.entities.products import PRODUCTS, RAW_PRODUCTS
from orders_lakehouse.pipeline.reconciliation import compare_totals_with_shop, compare_with_shop
from orders_lakehouse.postgres.connections import DatabaseError, connect, value_of
from orders_lakehouse.runtime import adbc_pool
from orders_lakehouse.settings import settings
from orders_lakehouse.sources.postgres.changes import changed_dates
from orders_lakehouse.tables import QUARANTINE_OF
from orders_lakehouse.warehouse.copies import COPIES
from orders_lakehouse.warehouse.load import load
from tests.support.lakehouse import Lakehouse, failures, lakehouse_on
from tests.support.rows import on, rows

DAY, LATER = "2017-01-02", "2017-01-03"
LOADS = {copy.table: copy for copy in COPIES}
SHOP = f"""
    INSERT INTO shop.customers (customer_id, full_name, city, updated_at) VALUES
        ('c1', 'Zoë Müller', 'Århus', '{DAY}'), ('c2', 'Ada', 'London', '{DAY}');
    INSERT INTO shop.products (product_id, product_name, unit_price, currency, updated_at)
        VALUES ('p1', 'Käse', 3, 'EUR', '{DAY}');
    INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at) VALUES
        ('ö1', 'c1', '{DAY} 10:00', 'paid', 'EUR', '{DAY} 11:00'),
        ('o2', 'c2', '{DAY} 10:00', 'paid', 'EUR', '{DAY} 11:00');
    INSERT INTO shop.order_items (order_id, line_number, product_id, quantity, unit_price, discount, updated_at) VALUES
        ('ö1', 1, 'p1', 1, 3, 0, '{DAY} 11:00'), ('o2', 1, 'p1', 2, 3, 0, '{DAY} 11:00');
    INSERT INTO shop.payments (payment_id, order_id, method, amount, currency, status, paid_at, updated_at)
        VALUES ('y1', 'ö1', 'card', 3, 'EUR', 'captured', '{DAY} 11:00', '{DAY} 11:00');
"""
WITHOUT_MARTS = "group:raw or group:cleansed"


@pytest.fixture
def make(postgres_url_factory: Callable[..., str], tmp_path: Path) -> Iterator[Callable[..., Lakehouse]]:
    """Makes the one lakehouse of a test: with a shop and a warehouse in some encodings, both empty."""
    opened = []

    def lakehouse(shop: str = "UTF8", warehouse: str = "UTF8") -> Lakehouse:
        encodings = {"shop": shop, "warehouse": warehouse}
        made = lakehouse_on(None, tmp_path, lambda name: postgres_url_factory(name, encoding=encodings[name]))
        opened.append(made)
        return made.__enter__()

    yield lakehouse
    for made in opened:
        made.__exit__(None, None, None)


def names(lakehouse: Lakehouse) -> list[str]:
    return lakehouse.lake_rows(CUSTOMERS)["full_name"].to_list()


@pytest.mark.parametrize("encoding", ["LATIN1", pytest.param("WIN1252", marks=pytest.mark.thorough), "SQL_ASCII"])
def test_shop_of_any_encoding_means_the_same_text(make: Callable[..., Lakehouse], encoding: str) -> None:
    lakehouse = make(encoding)
    lakehouse.shop(SHOP)
    assert failures(lakehouse.run(DAY, select=WITHOUT_MARTS)) == []
    assert names(lakehouse) == ["Zoë Müller", "Ada"]
    assert lakehouse.lake_rows(ORDERS)["order_id"].to_list() == ["o2", "ö1"]


@pytest.mark.slow
@pytest.mark.long
def test_warehouse_of_another_encoding_holds_the_same_text(make: Callable[..., Lakehouse]) -> None:
    lakehouse = make("LATIN1", "LATIN1")
    lakehouse.shop(SHOP)
    assert failures(lakehouse.run(DAY)) == []
    named = "FROM marts.dim_customers WHERE customer_id = 'c1'"
    # A letter is a letter in the server, too.
    assert lakehouse.warehouse_rows(f"SELECT customer_name, length(customer_name) {named}") == [("Zoë Müller", 10)]
    assert lakehouse.warehouse_rows("SELECT order_id FROM marts.fct_orders ORDER BY 1") == [("o2",), ("ö1",)]


@pytest.fixture(scope="module")
def role(postgres_url_factory: Callable[..., str]) -> str:
    """A role of which the server believes that its clients speak LATIN1."""
    name = f"latin_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
    with dbapi.connect(postgres_url_factory("roles"), autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {name} SUPERUSER LOGIN")
        cursor.execute(f"ALTER ROLE {name} SET client_encoding = 'LATIN1'")
    return name


@pytest.mark.slow
@pytest.mark.thorough
def test_client_encoding_of_role_or_environment_changes_no_text(
    make: Callable[..., Lakehouse], role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lakehouse = make()
    lakehouse.shop(SHOP)
    for database in ("SHOP", "WAREHOUSE"):
        variable = f"{database}_DATABASE_URL"
        monkeypatch.setenv(variable, os.environ[variable].replace("//postgres@", f"//{role}@"))
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    settings.cache_clear()
    assert failures(lakehouse.run(DAY)) == []
    assert names(lakehouse) == ["Zoë Müller", "Ada"]
    assert lakehouse.warehouse_rows("SELECT customer_name FROM marts.dim_customers WHERE customer_id = 'c1'") == [
        ("Zoë Müller",)
    ]


def test_rollback_leaves_the_encoding(role: str, postgres_url_factory: Callable[..., str]) -> None:
    url = postgres_url_factory("rollback").replace("//postgres@", f"//{role}@")
    for _ in range(2):
        with adbc_pool.connect(url) as connection, connection.cursor() as cursor:
            connection.rollback()
            assert value_of(cursor, "SELECT current_setting('client_encoding')") == "UTF8"


class TestBytesThatAreNoText:
    """A shop in SQL_ASCII, into which a client of another encoding wrote."""

    @pytest.fixture
    def lakehouse(self, make: Callable[..., Lakehouse]) -> Lakehouse:
        made = make("SQL_ASCII")
        made.shop(SHOP)
        self.write(made, "customers SET full_name = E'Zo\\xeb' WHERE customer_id = 'c2'")
        self.write(made, "orders SET customer_id = E'c\\xff', status = E'\\xe9' WHERE order_id = 'o2'")
        return made

    @staticmethod
    def write(lakehouse: Lakehouse, change: str) -> None:
        with dbapi.connect(lakehouse.shop_url) as connection, connection.cursor() as cursor:
            cursor.execute("SET client_encoding = 'SQL_ASCII'")
            cursor.execute(f"UPDATE shop.{change}")
            connection.commit()

    @pytest.mark.slow
    @pytest.mark.long
    def test_row_with_bad_byte_is_quarantined_until_corrected(self, lakehouse: Lakehouse) -> None:
        result = lakehouse.run(DAY)
        assert failures(result) == []
        assert lakehouse.lake_rows(RAW_CUSTOMERS)["full_name"].to_list() == ["Zoë Müller", f"Zo{BAD_BYTE}eb"]
        rejected = lakehouse.lake_rows(QUARANTINE_OF["customers"])
        assert rejected.select("customer_id", "full_name", "reasons").rows() == [
            ("c2", f"Zo{BAD_BYTE}eb", "text_not_utf8")
        ]
        assert lakehouse.lake_rows(QUARANTINE_OF["orders"])["reasons"].to_list() == [
            "status_not_in_list, text_not_utf8"
        ]
        # The others go on.
        assert names(lakehouse) == ["Zoë Müller"]
        assert lakehouse.warehouse_rows("SELECT order_id FROM marts.fct_orders") == [("ö1",)]
        # Nothing is new when it is captured again.
        assert failures(lakehouse.run(DAY, select="group:raw")) == []
        assert lakehouse.lake_rows(RAW_CUSTOMERS).height == 2

        lakehouse.shop(f"""
            UPDATE shop.customers SET full_name = 'Zoë', updated_at = '{LATER}' WHERE customer_id = 'c2';
            UPDATE shop.orders SET customer_id = 'c2', status = 'paid', updated_at = '{LATER}' WHERE order_id = 'o2';
        """)
        assert failures(lakehouse.run(DAY, LATER)) == []
        # Of a customer each version is judged for itself.
        assert names(lakehouse) == ["Zoë Müller", "Zoë"]
        assert lakehouse.lake_rows(QUARANTINE_OF["orders"]).is_empty()
        assert lakehouse.warehouse_rows("SELECT order_id FROM marts.fct_orders ORDER BY 1") == [("o2",), ("ö1",)]

    def test_extra_columns_enums_and_keys_are_decoded_alike(self, lakehouse: Lakehouse) -> None:
        lakehouse.shop("""
            CREATE TYPE shop.mood AS ENUM ('blæ');
            ALTER TABLE shop.products ADD note varchar(20), ADD mood shop.mood DEFAULT 'blæ', ADD token uuid,
                ADD weight numeric DEFAULT 1.50, ADD tags text[] DEFAULT '{é}';
        """)
        self.write(lakehouse, "products SET product_id = E'p\\xa4', note = E'\\xfe'")
        lakehouse.run(DAY, select="group:raw")
        stored = pl.scan_delta(lakehouse.lake.location(RAW_PRODUCTS)).collect()
        assert stored.select("product_id", "product_name", "note", "mood", "token", "weight", "tags").rows() == [
            (f"p{BAD_BYTE}a4", "Käse", f"{BAD_BYTE}fe", "blæ", None, "1.50", "{é}")
        ]

    def test_sensor_sees_such_rows_and_their_correction(self, lakehouse: Lakehouse) -> None:
        calendar = Calendar(on("2017-01-01"), "UTC")
        _, marks = changed_dates({}, lambda _: {}, calendar)
        assert changed_dates(marks, lambda _: {}, calendar)[0] == []
        self.write(lakehouse, "orders SET status = E'\\xea' WHERE order_id = 'o2'")
        assert changed_dates(marks, lambda _: {}, calendar)[0] == [on(DAY)]

    def test_shop_and_lake_agree_on_bad_bytes(self, lakehouse: Lakehouse) -> None:
        calendar = Calendar(on("2017-01-01"), "UTC")
        lakehouse.run(DAY, select=WITHOUT_MARTS)
        for table in (RAW_CUSTOMERS, RAW_ORDERS):
            compared = compare_with_shop(lakehouse.lake, table, calendar, [on(DAY)]).by_date
            assert compared["difference"].to_list() == [None]
            assert compared["found"].sum() == 2
        totals = compare_totals_with_shop(lakehouse.lake, ORDER_ITEMS_ENTITY, ORDER_ITEMS_ENTITY.total)
        # The line of the order that is in quarantine is not compared.
        assert totals.select("lines", "differing").rows() == [(1, 0)]
        self.write(lakehouse, "orders SET status = E'\\xea' WHERE order_id = 'o2'")
        compared = compare_with_shop(lakehouse.lake, RAW_ORDERS, calendar, [on(DAY)]).by_date
        assert compared.filter(pl.col("difference").is_not_null())["keys"].to_list() == [["o2"]]


class TestAWarehouseThatCannotHoldACharacter:
    @pytest.fixture
    def lakehouse(self, make: Callable[..., Lakehouse]) -> Lakehouse:
        return make("UTF8", "LATIN1")

    @staticmethod
    def store(lakehouse: Lakehouse, *customers: dict[str, str]) -> None:
        made = rows(CUSTOMERS, *customers)
        (day,) = made["captured_on"].unique()
        lakehouse.lake.replace_dates([CUSTOMERS], day, day, lambda _: [nw.from_native(made.lazy())])

    @pytest.mark.parametrize(("name", "character"), [("北京", "'北' (U+5317)"), ("5 €", "'€' (U+20AC)")])
    def test_load_error_names_table_row_column_and_character(
        self, lakehouse: Lakehouse, name: str, character: str
    ) -> None:
        self.store(lakehouse, {"full_name": "Zoë"}, {"customer_id": "c2", "city": name})
        with pytest.raises(DatabaseError) as raised:
            load(lakehouse.lake, LOADS[CUSTOMERS])
        said = str(raised.value)
        assert "lake.customers of the warehouse, whose encoding is LATIN1, cannot hold the row c2" in said
        assert f"its column city has {character}." in said
        assert "ENCODING 'UTF8'" in said

    def test_change_of_a_date_and_a_key_are_named_too(self, lakehouse: Lakehouse) -> None:
        self.store(lakehouse, *({"customer_id": f"c{number}"} for number in range(10)))
        load(lakehouse.lake, LOADS[CUSTOMERS])
        self.store(lakehouse, *({"customer_id": "北" if number == 3 else f"c{number}"} for number in range(10)))
        with pytest.raises(
            DatabaseError, match=r"whose encoding is LATIN1, cannot hold the row .*北.* column customer_id"
        ):
            load(lakehouse.lake, LOADS[CUSTOMERS])
        self.store(lakehouse, *({"customer_id": f"c{number}"} for number in range(11)))
        assert load(lakehouse.lake, LOADS[CUSTOMERS]).rows == 1

    @pytest.mark.slow
    @pytest.mark.long
    def test_run_fails_on_the_character_without_delaying_others(self, lakehouse: Lakehouse) -> None:
        lakehouse.shop(SHOP)
        lakehouse.shop("UPDATE shop.customers SET full_name = '北京' WHERE customer_id = 'c2'")
        found = failures(lakehouse.run(DAY))
        assert any("lake.customers" in failure and "the row c2" in failure for failure in found)
        assert lakehouse.lake_rows(ORDERS).height == 2
        assert lakehouse.lake_rows(PRODUCTS).height == 1


def test_undefined_byte_of_the_encoding_stops_no_row(
    make: Callable[..., Lakehouse],
) -> None:
    lakehouse = make("WIN1252")
    lakehouse.shop(SHOP)
    with dbapi.connect(lakehouse.shop_url) as connection, connection.cursor() as cursor:
        cursor.execute("SET client_encoding = 'WIN1252'")
        cursor.execute("UPDATE shop.customers SET full_name = E'5 \\x80 \\x81' WHERE customer_id = 'c2'")
        connection.commit()
    assert failures(lakehouse.run(DAY, select=WITHOUT_MARTS)) == []
    assert lakehouse.lake_rows(RAW_CUSTOMERS)["full_name"].to_list() == ["Zoë Müller", f"5 € {BAD_BYTE}81"]
    assert names(lakehouse) == ["Zoë Müller"]


def test_python_and_the_server_know_the_same_characters(postgres_url_factory: Callable[..., str]) -> None:
    one_byte = {name: codec for name, codec in encodings.items() if name.startswith(("LATIN", "KOI8", "WIN", "ISO_"))}
    with adbc_pool.connect(postgres_url_factory("characters")) as connection, connection.cursor() as cursor:
        cursor.execute("""
            CREATE FUNCTION pg_temp.text_or_null(bytes bytea, encoding text) RETURNS text LANGUAGE plpgsql AS $$
            BEGIN RETURN convert_from(bytes, encoding);
            EXCEPTION WHEN untranslatable_character OR character_not_in_repertoire THEN RETURN NULL; END $$
        """)
        cursor.execute(
            "SELECT pg_encoding_to_char(n) FROM generate_series(0, 34) AS n WHERE pg_encoding_max_length(n) = 1"
        )
        servers = {name for (name,) in cursor.fetchall()} - {"SQL_ASCII"}
        assert servers <= one_byte.keys()
        for encoding in servers:
            cursor.execute(
                f"SELECT pg_temp.text_or_null(decode(lpad(to_hex(n), 2, '0'), 'hex'), '{encoding}') "
                "FROM generate_series(1, 255) AS n ORDER BY n"
            )
            of_server = [text for (text,) in cursor.fetchall()]
            values = pl.Series([bytes([byte]) for byte in range(1, 256)], dtype=pl.Binary)
            marks = [f"{BAD_BYTE}{byte:02x}" for byte in range(1, 256)]
            expected = [mark if text is None else text for text, mark in zip(of_server, marks, strict=True)]
            assert text_of(values, one_byte[encoding]).to_list() == expected, encoding


@pytest.mark.usefixtures("clean_settings")
def test_every_connection_speaks_utf8(
    postgres_url_factory: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DATABASE_URL", postgres_url_factory("spoken", encoding="LATIN1"))
    with connect("shop") as connection, connection.cursor() as cursor:
        assert value_of(cursor, "SELECT current_setting('client_encoding')") == "UTF8"
