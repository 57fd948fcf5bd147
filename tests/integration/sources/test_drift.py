"""The shop changes its shape: columns come and go, types get wider, and what cannot be followed stops one table."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar

import polars as pl
import pytest

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.base import Contract
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities import payments, products
from orders_lakehouse.entities.customers import CUSTOMERS, RAW_CUSTOMERS, RawCustomers
from orders_lakehouse.entities.order_items import ORDER_ITEMS, RAW_ORDER_ITEMS
from orders_lakehouse.entities.orders import RAW_ORDERS, RawOrders
from orders_lakehouse.pipeline.capture import Captured, capture
from orders_lakehouse.pipeline.check_results import latest
from orders_lakehouse.pipeline.reconciliation import compare_with_shop
from orders_lakehouse.sources.base import Window
from orders_lakehouse.sources.postgres.changes import changed_dates
from orders_lakehouse.sources.postgres.versions import read_versions
from orders_lakehouse.sources.schema_drift import Drift, drifts, record_shape
from orders_lakehouse.tables import CLEANSED, QUARANTINE_OF, RAW
from tests.support.lakehouse import Lakehouse, failures
from tests.support.rows import on

CALENDAR = Calendar(on("2017-01-01"), "UTC")
FIRST, LAST = on("2017-01-01"), on("2017-01-10")
SHOP = """
INSERT INTO shop.customers (customer_id, full_name, updated_at)
VALUES ('a', 'Ann', '2017-01-02'), ('b', 'Bo', '2017-01-02');
INSERT INTO shop.products VALUES ('tea', 'Tea', 'Food', null, 2, 'EUR', '2017-01-02', null);
INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at)
VALUES ('o', 'a', '2017-01-02', 'paid', 'EUR', '2017-01-02');
INSERT INTO shop.order_items VALUES ('o', 1, 'tea', 2, 1.5, 0.5, '2017-01-02', null);
INSERT INTO shop.payments VALUES ('y', 'o', 'card', 2.5, 'EUR', 'captured', null, '2017-01-02', null);
"""
pytestmark = [pytest.mark.slow, pytest.mark.either_engine]
IN_THE_LAKE = "group:raw or group:cleansed or group:curated"


@pytest.fixture
def lakehouse(lakehouse: Lakehouse) -> Lakehouse:
    """A lakehouse whose shop may be altered: no view of the oracle depends on it."""
    lakehouse.shop("DROP SCHEMA oracle CASCADE")
    return lakehouse


def captured(lake: Lake, table: Table, run: str = "run") -> tuple[Captured, list[Drift]]:
    """Capture all dates of a table, without Dagster, and look at its shape."""
    (batch,) = read_versions(table, Window(FIRST, LAST, CALENDAR))
    done = capture(lake, table, batch.rows.with_columns(run_id=pl.lit(run)), CALENDAR, batch.extras)
    return done, drifts(table, record_shape(lake, table, batch.shape, done.extra_columns, run))


def stored(lake: Lake, table: Table) -> pl.DataFrame:
    """All that a table has, beside its contract too."""
    return pl.scan_delta(lake.location(table)).sort(*table.key, "updated_at").collect()


def said(lakehouse: Lakehouse, table: Table) -> Mapping[str, Any]:
    """What schema_drift says of a table."""
    return latest(lakehouse.lake, asset=table.path, check_name="schema_drift").row(0, named=True)


class TestColumnsBesideTheContract:
    def test_new_column_is_captured_reported_and_ignored_later(self, lakehouse: Lakehouse) -> None:
        customers = 'key:"raw/customers" or key:"cleansed/customers"'
        lakehouse.shop(SHOP)
        assert failures(lakehouse.run("2017-01-01", "2017-01-10", select=customers)) == []
        assert said(lakehouse, RAW_CUSTOMERS)["passed"]
        cleansed, before = lakehouse.lake_rows(CUSTOMERS), datetime.now(UTC)

        lakehouse.shop("""
            ALTER TABLE shop.customers ADD loyalty smallint DEFAULT 7, ADD tags jsonb;
            UPDATE shop.customers SET tags = '["x"]', updated_at = '2017-01-05' WHERE customer_id = 'b';
        """)
        for _ in range(2):
            result = lakehouse.run("2017-01-01", "2017-01-10", select=customers)
            assert result.success, failures(result)

        # The old versions stand as they were captured: the new columns make no other versions of them.
        rows = stored(lakehouse.lake, RAW_CUSTOMERS)
        assert rows.select("customer_id", "loyalty", "tags").rows() == [
            ("a", None, None),
            ("b", None, None),
            ("b", 7, '["x"]'),
        ]
        assert lakehouse.lake_rows(RAW_CUSTOMERS).columns == RAW_CUSTOMERS.columns
        assert lakehouse.lake_rows(CUSTOMERS).columns == cleansed.columns
        assert lakehouse.lake_rows(CUSTOMERS).height == 3
        found = said(lakehouse, RAW_CUSTOMERS)
        assert (found["passed"], found["severity"], found["date"]) == (False, "WARN", None)
        assert found["found"] == (
            f"loyalty: smallint since {before:%Y-%m-%d %H:%M}Z; tags: jsonb since {before:%Y-%m-%d %H:%M}Z"
        )
        assert "loyalty: no such column" in found["expected"]
        assert 'add `loyalty: pl.Int64 = pa.Field(nullable=True, description="...")` to RawCustomers' in found["detail"]
        assert "orders_lakehouse/entities/customers.py:" in found["detail"]

    @pytest.mark.parametrize(
        ("type_", "wider", "annotation", "field", "stored"),
        [
            ("integer", "bigint", "pl.Int64", 'pa.Field(nullable=True, description="...")', 7),
            # However it is printed, it is the same number.
            (
                "numeric(12,2)",
                "numeric(14,4)",
                "pl.String",
                'pa.Field(nullable=True, description="...", metadata=NUMBER)',
                "7.00",
            ),
        ],
    )
    def test_named_line_adds_the_column_to_the_contract(
        self, lakehouse: Lakehouse, type_: str, wider: str, annotation: str, field: str, stored: object
    ) -> None:
        class Config(Contract.Config):
            metadata: ClassVar[dict[str, str]] = {"version": "3"}

        lakehouse.shop(SHOP)
        lakehouse.shop(f"ALTER TABLE shop.customers ADD loyalty {type_} DEFAULT 7")
        (drift,) = captured(lakehouse.lake, RAW_CUSTOMERS)[1]
        assert f"add `loyalty: {annotation} = {field}` to RawCustomers" in drift.to_do

        named = {"__annotations__": {"loyalty": eval(annotation)}, "loyalty": eval(field, vars(products))}  # noqa: S307
        table = replace(RAW_CUSTOMERS, model=type("Loyal", (RawCustomers,), {**named, "Config": Config}))
        lakehouse.shop(f"ALTER TABLE shop.customers ALTER loyalty TYPE {wider}")
        done, drifted = captured(lakehouse.lake, table)
        assert (done.new, drifted) == (0, [])
        assert lakehouse.lake_rows(table)["loyalty"].to_list() == [stored] * 2

    def test_column_that_returns_with_another_type_loses_nothing(self, lakehouse: Lakehouse) -> None:
        lake = lakehouse.lake
        lakehouse.shop(SHOP)
        steps = [
            ("ADD size integer DEFAULT 4", "2017-01-03"),
            ("DROP size", "2017-01-04"),
            ("ADD size text DEFAULT 'large'", "2017-01-05"),
            ("ALTER size DROP DEFAULT, ALTER size TYPE bigint USING 5", "2017-01-06"),
        ]
        drifted = []
        for change, day in steps:
            lakehouse.shop(f"ALTER TABLE shop.customers {change}; UPDATE shop.customers SET updated_at = '{day}'")
            done, found = captured(lake, RAW_CUSTOMERS)
            assert done.new == 2
            drifted.append(found)
        of_a = stored(lake, RAW_CUSTOMERS).filter(pl.col("customer_id") == "a")
        assert of_a.select("size", "size__text").rows() == [(4, None), (None, None), (None, "large"), (5, None)]
        # It was there when the contract was captured first, so its going is worth a word; its absence is no surprise.
        assert [[(drift.column, drift.found) for drift in found] for found in drifted] == [
            [("size", "integer")],
            [("size", "gone")],
            [("size", "text")],
            [("size", "bigint")],
        ]
        assert "captured as size__text" in drifted[2][0].to_do
        assert lakehouse.lake_rows(RAW_CUSTOMERS).columns == RAW_CUSTOMERS.columns

    def test_every_type_and_every_name_is_captured(self, lakehouse: Lakehouse) -> None:
        lakehouse.shop("""
            CREATE TYPE shop.mood AS ENUM ('fine');
            ALTER TABLE shop.orders
              ADD source text DEFAULT 'web', ADD captured_on date DEFAULT '2001-01-01',
              ADD "Order_ID" bigint DEFAULT 1, ADD "select" boolean DEFAULT true,
              ADD "Größe (cm)" real DEFAULT 0.5, ADD order_date date DEFAULT 'infinity',
              ADD business_date timestamptz DEFAULT '2001-01-01', ADD "a""b" numeric(9, 3) DEFAULT 1.5,
              ADD first_captured_on text DEFAULT 'x', ADD at timestamp DEFAULT '2001-01-01',
              ADD many text[] DEFAULT '{a,b}', ADD mood shop.mood DEFAULT 'fine', ADD bytes bytea DEFAULT 'x';
            INSERT INTO shop.orders (order_id, ordered_at, updated_at) VALUES
              ('o', '2017-01-02', '2017-01-02'), ('ahead', '2017-01-02', now() + interval '9 days');
        """)
        today = datetime.now(UTC).date()
        (batch,) = read_versions(RAW_ORDERS, Window(FIRST, today, CALENDAR))
        rows = batch.rows.with_columns(run_id=pl.lit("run"))
        for new in (2, 0):
            done = capture(lakehouse.lake, RAW_ORDERS, rows, CALENDAR, batch.extras)
            assert (done.new, sorted(done.present.rows())) == (new, [(on("2017-01-02"), 1), (today, 1)])
        row = stored(lakehouse.lake, RAW_ORDERS).row(-1, named=True)
        assert {name: row[name] for name in row if name not in RAW_ORDERS.columns} == {
            "source__text": "web",
            "captured_on__text": "2001-01-01",
            "Order_ID__text": "1",
            "select": True,
            "Größe_cm_": 0.5,
            "order_date": on("9999-12-31"),
            "business_date": datetime(2001, 1, 1, tzinfo=UTC),
            "a_b": "1.500",
            "first_captured_on": "x",
            "at": "2001-01-01 00:00:00",
            "many": "{a,b}",
            "mood": "fine",
            "bytes": "\\x78",
        }
        assert (row["source"], row["captured_on"]) == ("shop", on("2017-01-02"))
        drifted = drifts(RAW_ORDERS, record_shape(lakehouse.lake, RAW_ORDERS, batch.shape, done.extra_columns, "run"))
        assert {drift.column for drift in drifted} == set(batch.extras.columns)


class TestWiderTypes:
    NARROW = """
        ALTER TABLE shop.order_items ALTER quantity TYPE integer, ALTER line_number TYPE integer,
          ALTER unit_price TYPE numeric(12, 4), ALTER discount TYPE numeric(12, 2);
    """
    WIDER = """
        ALTER TABLE shop.order_items ALTER quantity TYPE bigint, ALTER line_number TYPE bigint,
          ALTER unit_price TYPE numeric(20, 9), ALTER discount TYPE numeric;
    """

    def test_value_that_does_not_fit_is_quarantined_with_reason(self, lakehouse: Lakehouse) -> None:
        lakehouse.shop(f"{self.NARROW}; {SHOP}")
        items = 'key:"raw/orders" or key:"cleansed/orders" or key:"raw/order_items" or key:"cleansed/order_items"'
        assert failures(lakehouse.run("2017-01-01", "2017-01-10", select=items)) == []
        lakehouse.shop(self.WIDER)
        lakehouse.shop("""
            INSERT INTO shop.order_items VALUES
              ('o', 3000000000, 'tea', 1, 1, 0, '2017-01-03', null),
              ('o', 4000000000, 'tea', 1, 1, 0, '2017-01-03', null),
              ('o', 2, 'tea', 1000000000000, 1, 0, '2017-01-03', null),
              ('o', 3, 'tea', 1, 1.123456789, 0, '2017-01-03', null),
              ('o', 4, 'tea', 1, 1, 0.001, '2017-01-03', null),
              ('o', 5, 'tea', 3000000000, 1.12345678, 0, '2017-01-03', null)
        """)
        result = lakehouse.run("2017-01-01", "2017-01-10", select=items)
        assert result.success, failures(result)
        rejected = lakehouse.lake_rows(QUARANTINE_OF["order_items"])
        assert rejected.select("line_number", "quantity", "unit_price", "reasons").rows() == [
            (2, "1000000000000", "1.000000000", "quantity_out_of_range"),
            (3, "1", "1.123456789", "unit_price_too_precise"),
            (4, "1", "1.000000000", "discount_too_precise"),
            (3_000_000_000, "1", "1.000000000", "line_number_missing"),
            (4_000_000_000, "1", "1.000000000", "line_number_missing"),
        ]
        assert lakehouse.lake_rows(ORDER_ITEMS).select("line_number", "quantity", "total_price").rows() == [
            (1, 2, Decimal("2.5")),
            (5, 3_000_000_000, Decimal("3370370340")),
        ]
        found = said(lakehouse, RAW_ORDER_ITEMS)
        assert (found["passed"], found["severity"]) == (False, "WARN")
        assert [part.split(" since")[0] for part in found["found"].split("; ")] == [
            "discount: numeric",
            "line_number: bigint",
            "quantity: bigint",
            "unit_price: numeric(20,9)",
        ]
        assert "unit_price: numeric(12,4)" in found["expected"]

    def test_same_numbers_with_more_decimals_are_no_new_versions(self, lakehouse: Lakehouse) -> None:
        lakehouse.shop(SHOP)
        assert captured(lakehouse.lake, RAW_ORDER_ITEMS)[0].new == 1
        lakehouse.shop(self.WIDER)
        done, _ = captured(lakehouse.lake, RAW_ORDER_ITEMS)
        assert (done.new, done.present["rows"].to_list()) == (0, [1])
        compared = compare_with_shop(lakehouse.lake, RAW_ORDER_ITEMS, CALENDAR, []).by_date
        assert compared.select("rows", "found", "difference").rows() == [(1, 1, None)]
        lakehouse.shop("UPDATE shop.order_items SET unit_price = 1.500001")
        assert captured(lakehouse.lake, RAW_ORDER_ITEMS)[0].new == 1

    def test_unlimited_text_is_followed_until_contract_accepts_it(self, lakehouse: Lakehouse) -> None:
        class Accepting(RawOrders):
            class Config(Contract.Config):
                metadata: ClassVar[dict[str, str]] = {"version": "3"}

        lakehouse.shop(SHOP)
        lakehouse.shop("ALTER TABLE shop.orders ALTER status TYPE varchar(9)")
        assert captured(lakehouse.lake, RAW_ORDERS)[1] == []
        lakehouse.shop("ALTER TABLE shop.orders ALTER status TYPE text")
        for _ in range(2):
            done, drifted = captured(lakehouse.lake, RAW_ORDERS)
            assert done.new == 0
            assert [(one.column, one.expected, one.found) for one in drifted] == [
                ("status", "character varying(9)", "text")
            ]
        assert captured(lakehouse.lake, replace(RAW_ORDERS, model=Accepting))[1] == []


class TestBreaks:
    def test_removed_column_stops_its_table_alone(self, lakehouse: Lakehouse) -> None:
        lakehouse.shop(SHOP)
        lakehouse.shop("ALTER TABLE shop.payments DROP amount")
        result = lakehouse.run("2017-01-01", "2017-01-10", select=IN_THE_LAKE)

        assert not result.success
        (failure,) = failures(result)
        assert failure.startswith("raw__payments: shop.payments does not have the columns that raw/payments needs")
        assert "column amount: expected numeric or an integer type, found no such column" in failure
        with open(payments.__file__) as lines:
            line = next(number for number, text in enumerate(lines, 1) if text.startswith("    amount:"))
        assert f"(the contract's line: orders_lakehouse/entities/payments.py:{line})" in failure
        done = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
        assert done == {
            *(table.path for table in (*RAW, *CLEANSED) if table.name != "payments"),
            *(f"curated/{name}" for name in ("order_lines", "daily_sales", "customer_profile")),
        }
        assert lakehouse.lake_rows(ORDER_LINES).height == 1

    @pytest.mark.parametrize("change", ["DROP amount", "DROP updated_at", "RENAME TO charges"])
    def test_other_tables_are_still_followed(self, lakehouse: Lakehouse, change: str) -> None:
        lakehouse.shop(SHOP)
        _, marks = changed_dates({}, lambda _: {}, CALENDAR)
        lakehouse.shop(f"ALTER TABLE shop.payments {change}")
        broken, marks = changed_dates(marks, lambda _: {}, CALENDAR)
        # The capture says what is wrong: of the last hour's dates, or of today where nothing can be asked.
        assert broken in ([on("2017-01-02")], [datetime.now(UTC).date()])
        lakehouse.shop("UPDATE shop.orders SET updated_at = '2017-01-03'")
        found, marks = changed_dates(marks, lambda _: {}, CALENDAR)
        assert found == [on("2017-01-02"), on("2017-01-03")]
        assert changed_dates(marks, lambda _: {}, CALENDAR)[0] == []
