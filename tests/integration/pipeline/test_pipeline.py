"""From the shop to the marts: every rule of the contract, broken and kept, on a handful of orders."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from adbc_driver_postgresql import dbapi
from polars.testing import assert_frame_equal

from bench.bare import Job, build
from bench.equal import lake_differences, warehouse_differences
from orders_lakehouse.contracts.base import contract_version, rules_of
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.entities.customers import CUSTOMERS
from orders_lakehouse.entities.order_items import ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS
from orders_lakehouse.entities.payments import PAYMENTS
from orders_lakehouse.entities.products import PRODUCTS
from orders_lakehouse.entities.shipment_items import SHIPMENT_ITEMS
from orders_lakehouse.entities.shipments import SHIPMENTS
from orders_lakehouse.entities.warehouses import WAREHOUSES
from orders_lakehouse.pipeline.check_results import latest
from orders_lakehouse.pipeline.row_accounting import Accounts, accounts
from orders_lakehouse.postgres.connections import parse_url
from orders_lakehouse.sample_shop.edge_cases import edge_cases
from orders_lakehouse.settings import DBT_PROJECT
from orders_lakehouse.tables import CLEANSED, QUARANTINE_OF, RAW_OF
from tests.support.edge_cases import EXACT, FIRST, LAST, REJECTED, WARNS
from tests.support.lakehouse import Lakehouse, day, failures, lakehouse_on
from tests.support.redshift import PLAYS, unknown_to_redshift

pytestmark = [pytest.mark.slow, pytest.mark.either_engine]


# Rows of the shop that are marked as deleted, or whose order is.
DELETED = {
    **{CUSTOMERS: 1, PRODUCTS: 1, ORDERS: 2, ORDER_ITEMS: 3, PAYMENTS: 2},
    **{WAREHOUSES: 1, SHIPMENTS: 2, SHIPMENT_ITEMS: 2},
}
# What the pipeline itself fills in; no row of a shop can break these.
NEVER_BROKEN_BY_A_SHOP = {
    *("is_deleted_missing", "versions_missing", "versions_below_1", "updated_at_missing", "captured_on_missing"),
    "candidates_missing",
    *("captured_at_missing", "order_date_missing", "order_state_missing", "order_state_not_in_list"),
    # Null is no discount.
    "discount_missing",
    # Parts of a line's key.
    *("order_id_missing", "line_number_missing"),
    # A server that knows its encoding converts all text; of the others: test_encodings.py.
    "text_not_utf8",
}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("disk", marks=pytest.mark.xdist_group("disk")),
        pytest.param("s3", marks=[pytest.mark.xdist_group("s3"), pytest.mark.thorough]),
    ],
)
def done(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    postgres_url_factory: Callable[[str], str],
) -> Iterator[Lakehouse]:
    """Everything run once. Rows with a clock ahead of the shop's own are captured as of today."""
    endpoint = request.getfixturevalue("s3_endpoint") if request.param == "s3" else None
    with lakehouse_on(endpoint, tmp_path_factory.mktemp("lakehouse"), postgres_url_factory) as lakehouse:
        lakehouse.shop(edge_cases())
        lakehouse.shop(EXACT)
        lakehouse.oracle.look()
        ((today,),) = lakehouse.shop_rows("SELECT now()::date::text")
        for result in (
            lakehouse.run(today, select="group:raw"),
            lakehouse.run(FIRST, LAST),
            lakehouse.run(today, select="group:cleansed"),
        ):
            assert result.success, failures(result)
        yield lakehouse


def test_marts_equal_the_oracle(done: Lakehouse) -> None:
    assert done.wrong_marts() == {}
    assert done.warehouse_rows("SELECT count(*) FROM marts.fct_order_lines") == [(14,)]


@pytest.mark.parametrize(
    ("sabotage", "noticed_in"),
    [
        ("DELETE FROM marts.fct_order_lines WHERE order_id = 'o3'", {"fct_order_lines", "per_date"}),
        ("DELETE FROM marts.fct_orders WHERE order_id = 'a day ahead'", {"fct_orders", "per_date"}),
        ("UPDATE marts.fct_order_lines SET total_price = total_price + 0.01", {"fct_order_lines", "per_date"}),
        ("UPDATE marts.fct_orders SET customer_key = repeat('0', 32)", {"fct_orders"}),
        ("UPDATE marts.fct_orders SET paid_amount = 0", {"fct_orders", "per_date"}),
        ("UPDATE marts.dim_payment_methods SET method = 'cash' WHERE method = 'voucher'", {"fct_orders"}),
        ("DELETE FROM marts.dim_customers WHERE customer_id = 'c2'", {"dim_customers"}),
        ("UPDATE marts.dim_products SET unit_price = 1 WHERE product_id = 'p1'", {"dim_products", "fct_order_lines"}),
    ],
)
def test_oracle_notices_a_wrong_mart(done: Lakehouse, sabotage: str, noticed_in: set[str]) -> None:
    with dbapi.connect(done.warehouse_url) as connection, connection.cursor() as cursor:

        def rows(query: str) -> list[tuple[object, ...]]:
            cursor.execute(query)
            return list(cursor.fetchall())

        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute(sabotage)
        assert set(done.oracle.differences(rows)) == noticed_in
        connection.rollback()
    assert done.wrong_marts() == {}


def test_curated_tables_equal_the_oracle(done: Lakehouse) -> None:
    assert done.wrong_curated() == {}


def test_bare_script_makes_the_same_tables(
    done: Lakehouse, tmp_path: Path, postgres_url_factory: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Path(done.lake.url)
    if not ours.exists():
        pytest.skip("the bare script writes to a disk")
    monkeypatch.setattr("bench.bare._CHUNK_ROWS", 1)
    ((today,),) = done.shop_rows("SELECT now()::date::text")
    lake, warehouse_url = tmp_path / "lake", postgres_url_factory("bare")
    first = date.fromisoformat(FIRST)
    with ThreadPoolExecutor(4) as pool:
        job = Job(first, date.fromisoformat(today), first, "UTC", "US", lake, done.shop_url, warehouse_url, pool)
        assert (build(job),) == done.shop_rows("SELECT count(*) FROM shop.order_items")[0]

    assert lake_differences(ours, lake) == []
    assert warehouse_differences(done.warehouse_url, warehouse_url) == []
    # And they would be told.
    with dbapi.connect(warehouse_url) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE marts.fct_orders SET units = units + 1 WHERE order_id = 'o1'")
        connection.commit()
    (differing,) = warehouse_differences(done.warehouse_url, warehouse_url)
    assert differing.startswith("marts.fct_orders: ")


@pytest.fixture
def played(done: Lakehouse, postgres_url_factory: Callable[[str], str]) -> Lakehouse:
    """The same copies in a warehouse that plays Redshift, and nothing that dbt made of them."""
    copy = replace(done, warehouse_url=postgres_url_factory("redshift"))
    here, there = ((parse_url(url) or {})["dbname"] for url in (copy.warehouse_url, done.warehouse_url))
    with dbapi.connect(done.shop_url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {here}")
        cursor.execute(f"CREATE DATABASE {here} TEMPLATE {there}")
    with dbapi.connect(copy.warehouse_url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.executescript(f"DROP SCHEMA marts, staging CASCADE; {PLAYS}")
    return copy


@pytest.mark.thorough
def test_sql_for_redshift_makes_the_same_marts(done: Lakehouse, played: Lakehouse, tmp_path: Path) -> None:
    parts = parse_url(played.warehouse_url) or {}
    folders = ("--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT), "--log-path", str(tmp_path))
    build = ("--quiet", "build", "--target", "redshift", "--target-path", str(tmp_path), *folders)

    ran = subprocess.run(
        [
            *(sys.executable, "-m", "tests.support.redshift", str(tmp_path / "sent")),
            # Everything, and the dates of the facts again.
            *(*build, "--exclude-resource-type", "unit_test", "--", *build, "--select", "tag:partitioned"),
        ],
        env={
            **os.environ,
            "DBT_REDSHIFT_HOST": parts["host"],
            "DBT_REDSHIFT_PORT": parts.get("port", "5432"),
            "DBT_REDSHIFT_USER": parts["user"],
            "DBT_REDSHIFT_DBNAME": parts["dbname"],
            "DBT_FROM_DATE": FIRST,
            "DBT_TO_DATE": LAST,
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert played.mart_checksums() == done.mart_checksums()
    sent = [json.loads(line) for line in (tmp_path / "sent").read_text().splitlines()]
    written = [re.search(r'^\s*(lock|delete|insert)\b[^(]*"fct_orders"', sql, re.MULTILINE) for sql in sent]
    assert [match[1] for match in written if match] == ["insert", "lock", "delete", "insert"]
    # What the adapter asks of the catalog is its own.
    asked = ("information_schema", "pg_namespace", "pg_catalog", "pg_backend_pid")
    found = {sql: unknown_to_redshift(sql) for sql in sent if not any(name in sql for name in asked)}
    assert {sql: said for sql, said in found.items() if said} == {}


def test_amounts_are_rounded_half_away_from_zero(done: Lakehouse) -> None:
    lines = done.warehouse_rows(
        "SELECT line_number, total_price FROM marts.fct_order_lines WHERE order_id = 'o1' ORDER BY line_number"
    )
    # 3 * 3.3350 - 0.01 = 9.995, 5.0050, 2 * 0.0050, 0.9960 - 1.00 = -0.004, 2e9 * 0.45 - 0.01
    assert lines == [(1, "10.0000"), (2, "5.0100"), (3, "0.0100"), (4, "0.0000"), (6, "899999999.9900")]


@pytest.mark.parametrize("table", CLEANSED, ids=lambda table: table.name)
def test_accounts_balance(done: Lakehouse, table: Table) -> None:
    ((rows,),) = done.shop_rows(f"SELECT count(*) FROM shop.{table.name}")
    rejected, deleted = len(REJECTED[table]), DELETED[table]

    books = accounts(done.lake, table)

    assert books == Accounts(
        captured=rows,
        current=rows - rejected - deleted,
        superseded=0,
        deleted=deleted,
        quarantined=rejected,
    )
    assert books.missing == 0


@pytest.mark.parametrize("table", CLEANSED, ids=lambda table: table.name)
def test_quarantine_has_every_reason_and_the_contract_version(done: Lakehouse, table: Table) -> None:
    rows = done.lake_rows(QUARANTINE_OF[table.name])
    keys = rows.select(key=pl.concat_str([pl.col(name).cast(pl.String) for name in table.key], separator=" / "))

    assert dict(zip(keys["key"], rows["reasons"], strict=True)) == REJECTED[table]
    assert rows["contract_version"].unique().to_list() == [contract_version(table.model)]
    assert rows["versions"].unique().to_list() == [1]


@pytest.mark.parametrize("table", CLEANSED, ids=lambda table: table.name)
def test_faulty_row_that_is_not_rejected_has_a_warning(done: Lakehouse, table: Table) -> None:
    rows = done.lake_rows(table).filter(pl.col("warnings").is_not_null())
    assert dict(rows.select(table.key[0], "warnings").rows()) == WARNS.get(table, {})


def test_warnings_are_reported_by_a_check(done: Lakehouse) -> None:
    told = latest(done.lake, check_name="no_warnings").filter(~pl.col("passed"))
    assert set(told["asset"]) == {table.path for table in WARNS}
    assert set(told["severity"]) == {"WARN"}
    of_orders = told.filter(asset=ORDERS.path, date=day("2017-01-08"))["found"].item()
    assert "shipped_before_ordered: 2 rows" in of_orders


@pytest.mark.parametrize("table", CLEANSED, ids=lambda table: table.name)
def test_every_rule_that_a_shop_can_break_is_broken(table: Table) -> None:
    all_reasons = [*REJECTED[table].values(), *WARNS.get(table, {}).values()]
    told = {reason for reasons in all_reasons for reason in reasons.split(", ")}
    # A table has its key once; a view may not (test_key_not_unique).
    can_be_told = {rule.reason for rule in rules_of(table.model)} - {"key_not_unique"}
    if table is ORDER_ITEMS or table is PAYMENTS:
        # A missing key of the order is an order that is not known.
        can_be_told -= {"order_id_missing"}
    assert can_be_told - told <= NEVER_BROKEN_BY_A_SHOP
    assert told <= can_be_told


@pytest.mark.parametrize("table", CLEANSED, ids=lambda table: table.name)
def test_quarantine_keeps_the_values_as_they_came(done: Lakehouse, table: Table) -> None:
    stored = done.lake_rows(QUARANTINE_OF[table.name])
    captured = done.lake_rows(RAW_OF[table.name])
    assert stored.height > 0
    assert stored.join(captured, on=captured.columns, how="anti", nulls_equal=True).is_empty()


def test_unknown_keys_become_inferred_members(done: Lakehouse) -> None:
    customers = done.warehouse_rows(
        "SELECT customer_id, customer_name, valid_from::text, valid_to::text, is_current "
        "FROM marts.dim_customers WHERE is_inferred ORDER BY 1"
    )
    products = done.warehouse_rows("SELECT product_id FROM marts.dim_products WHERE is_inferred ORDER BY 1")
    ends = ("1900-01-01 00:00:00+00", "9999-12-31 00:00:00+00")
    assert customers == [("nobody knows", None, *ends, True)]
    assert products == [(" p1",), ("sold but unknown",)]


def test_guests_are_the_unknown_member(done: Lakehouse) -> None:
    guests = (
        "SELECT order_id FROM marts.{} JOIN marts.dim_customers USING (customer_key) "
        "WHERE {} AND date_id < 20170108 ORDER BY 1"
    )
    unknown = "customer_name = 'Unknown' AND dim_customers.customer_id IS NULL"
    assert done.warehouse_rows(guests.format("fct_orders", unknown)) == [("o2",), ("o3",)]
    assert done.warehouse_rows(guests.format("fct_order_lines", unknown)) == [("o2",), ("o3",)]
    assert done.warehouse_rows("SELECT count(*) FROM marts.dim_customers WHERE customer_id IS NULL") == [(1,)]


def test_deleted_product_stays_what_was_sold(done: Lakehouse) -> None:
    sold = done.warehouse_rows(
        "SELECT product_name, is_deleted, is_inferred FROM marts.fct_order_lines "
        "JOIN marts.dim_products USING (product_key) WHERE order_id = 'o3'"
    )
    assert sold == [("Withdrawn", True, False)]


def test_every_date_of_a_fact_is_a_date(done: Lakehouse) -> None:
    days = done.warehouse_rows("SELECT min(date), max(date), count(*) FROM marts.dim_date")
    assert days == [(day("2017-01-01"), day("2018-12-31"), 730)]
    assert done.warehouse_rows("SELECT is_holiday, holiday_name FROM marts.dim_date WHERE date_id = 20170704") == [
        (True, "Independence Day")
    ]


@pytest.mark.long
def test_same_range_again_changes_nothing(done: Lakehouse) -> None:
    raw, lake, marts = done.raw_tables(), done.lake_tables(), done.mart_checksums()

    result = done.run(FIRST, LAST)

    assert result.success, failures(result)
    assert done.mart_checksums() == marts
    for path, rows in {**done.raw_tables(), **done.lake_tables()}.items():
        assert_frame_equal(rows, {**raw, **lake}[path], check_exact=True)
