"""Rows that the shop deletes instead of marking them: what becomes of them, and of those that come back."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from orders_lakehouse.entities.customers import CUSTOMERS
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.entities.payments import RAW_PAYMENTS
from orders_lakehouse.entities.products import PRODUCTS
from orders_lakehouse.tables import CURATED, QUARANTINE_OF, RAW
from tests.support.daemon import DERIVED, Daemon
from tests.support.deletes import FIRST, LAST, MARTS, all_is_well, disagreeing, reconciled, versions
from tests.support.lakehouse import Lakehouse, changed, not_accounted_for, ran
from tests.support.late_changes import IN_THE_LAKE

pytestmark = pytest.mark.slow


DELETED = {
    "order_items": [
        "order_id = 'moves'",
        # Its order has not come, so it waits in quarantine.
        "order_id = 'comes later'",
        # A rule rejects it.
        "order_id = 'corrected' AND line_number = 2",
    ],
    "payments": ["payment_id = 'y wanders'"],
    # The second one has no date, and is in quarantine.
    "orders": ["order_id = 'deleted'", "order_id = 'dated later'"],
    "customers": ["customer_id = 'ca'"],
    "products": ["product_id = 'py'"],
}


@pytest.mark.long
def test_deleted_rows_leave_the_marts(followed: tuple[Lakehouse, Daemon], tmp_path: Path) -> None:
    lakehouse, daemon = followed
    daemon.through = f"({DERIVED}) or {MARTS}"
    ran(lakehouse, FIRST, LAST, select=MARTS)
    assert lakehouse.wrong_marts() == {}
    lakehouse.shop(";".join(f"DELETE FROM shop.{table} WHERE {row}" for table, rows in DELETED.items() for row in rows))
    reconciled(lakehouse, "compare")
    assert {asset for asset, _ in disagreeing(lakehouse)} >= {f"raw/{table}" for table in DELETED}

    reconciled(lakehouse)
    asked = daemon.settle()
    assert "derive_dates_job" in {job for job, _, _ in asked}
    all_is_well(lakehouse, tmp_path)
    assert lakehouse.wrong_marts() == {}
    for table in RAW:
        tombstones = lakehouse.lake_rows(table).filter(pl.col("change") == "reconcile")
        assert tombstones.height == len(DELETED.get(table.name, ()))
        assert tombstones["deleted_at"].equals(tombstones["captured_at"])
    for table in (CUSTOMERS, PRODUCTS):
        assert lakehouse.lake_rows(table).filter("is_deleted").height == 1

    before = versions(lakehouse)
    reconciled(lakehouse)
    assert versions(lakehouse) == before
    assert daemon.settle() == []


@pytest.mark.parametrize(
    ("deletion", "touched"),
    [
        ("payments WHERE payment_id = 'y wanders'", ("2017-01-02", "2017-01-02")),
        pytest.param("customers WHERE customer_id = 'ca'", (FIRST, "2017-01-06"), marks=pytest.mark.thorough),
    ],
)
def test_only_affected_dates_are_derived(
    followed: tuple[Lakehouse, Daemon], deletion: str, touched: tuple[str, str]
) -> None:
    lakehouse, daemon = followed
    lakehouse.shop(f"DELETE FROM shop.{deletion}")
    reconciled(lakehouse)
    assert daemon.settle() == [("derive_dates_job", *touched)]
    assert lakehouse.wrong_curated() == {}


@pytest.mark.thorough
def test_purging_marked_rows_changes_nothing(followed: tuple[Lakehouse, Daemon], tmp_path: Path) -> None:
    lakehouse, daemon = followed
    changed(
        lakehouse,
        "UPDATE shop.orders SET deleted_at = '2017-01-08', updated_at = '2017-01-08' WHERE order_id = 'deleted';"
        "UPDATE shop.customers SET deleted_at = '2017-01-08', updated_at = '2017-01-08' WHERE customer_id = 'cb'",
    )
    daemon.settle()
    before = versions(lakehouse)
    lakehouse.shop(
        "DELETE FROM shop.orders WHERE order_id = 'deleted'; DELETE FROM shop.customers WHERE full_name = 'Bea'"
    )
    reconciled(lakehouse)
    assert versions(lakehouse) == before
    daemon.settle()
    all_is_well(lakehouse, tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "clock", ["same", "2017-01-01 12:00+00", "2017-01-09 12:00+00"], ids=["same", "older", "newer"]
)
def test_key_that_returns_wins_again(followed: tuple[Lakehouse, Daemon], tmp_path: Path, clock: str) -> None:
    lakehouse, daemon = followed
    keys = {"orders": "order_id = 'payer'", "payments": "payment_id = 'y moves'", "customers": "customer_id = 'cb'"}
    keys |= {"products": "product_id = 'py'", "order_items": "order_id = 'corrected'"}
    for table, where in keys.items():
        lakehouse.shop(
            f"CREATE TABLE saved_{table} AS SELECT * FROM shop.{table} WHERE {where};"
            f"DELETE FROM shop.{table} WHERE {where}"
        )
    reconciled(lakehouse)
    daemon.settle()
    assert lakehouse.wrong_curated() == {}
    assert not_accounted_for(lakehouse) == {}

    for table in keys:
        if clock != "same":
            lakehouse.shop(f"UPDATE saved_{table} SET updated_at = '{clock}'")
        lakehouse.shop(f"INSERT INTO shop.{table} SELECT * FROM saved_{table}")
    lakehouse.oracle.look()
    reconciled(lakehouse)
    daemon.settle()
    before = versions(lakehouse)
    reconciled(lakehouse)
    assert versions(lakehouse) == before
    all_is_well(lakehouse, tmp_path)
    # A capture of the dates that it has been on changes nothing.
    ran(lakehouse, FIRST, LAST, select=IN_THE_LAKE)
    reconciled(lakehouse)
    assert daemon.settle() == []
    assert lakehouse.wrong_curated() == {}
    assert lakehouse.lake_rows(RAW_ORDERS).filter(order_id="payer").height == (
        4 if clock.startswith("2017-01-01") else 3
    )

    lakehouse.shop(
        "DELETE FROM shop.orders WHERE order_id = 'payer'; DELETE FROM shop.customers WHERE full_name = 'Bea'"
    )
    reconciled(lakehouse)
    daemon.settle()
    assert disagreeing(lakehouse) == lakehouse.wrong_curated() == not_accounted_for(lakehouse) == {}


@pytest.mark.long
def test_row_that_returns_is_captured_by_the_run_of_its_date(
    followed: tuple[Lakehouse, Daemon], tmp_path: Path
) -> None:
    lakehouse, daemon = followed
    lakehouse.shop("CREATE TABLE saved AS SELECT * FROM shop.orders; DELETE FROM shop.orders WHERE order_id = 'payer'")
    reconciled(lakehouse)
    daemon.settle()
    lakehouse.shop("INSERT INTO shop.orders SELECT * FROM saved WHERE order_id = 'payer'")
    ran(lakehouse, "2017-01-02", select="group:raw")
    daemon.settle()
    before = versions(lakehouse)
    reconciled(lakehouse)
    assert versions(lakehouse) == before
    all_is_well(lakehouse, tmp_path)


@pytest.mark.long
def test_rows_hidden_by_a_view_count_as_deleted(followed: tuple[Lakehouse, Daemon]) -> None:
    lakehouse, daemon = followed
    lakehouse.shop(
        "ALTER TABLE shop.payments RENAME TO all_payments;"
        "INSERT INTO shop.all_payments VALUES ('', 'payer', 'card', 1, 'EUR', 'captured', null, '2017-01-05', null);"
        "CREATE VIEW shop.payments AS SELECT * FROM shop.all_payments"
    )
    ran(lakehouse, "2017-01-05", select="group:raw")
    daemon.settle()
    quarantined = QUARANTINE_OF["payments"]
    assert "" in lakehouse.lake_rows(quarantined)["payment_id"]
    reconciled(lakehouse)
    assert lakehouse.lake_rows(RAW_PAYMENTS).filter(change="reconcile").is_empty()

    lakehouse.shop(
        "CREATE OR REPLACE VIEW shop.payments AS SELECT * FROM shop.all_payments WHERE payment_id LIKE 'y%' "
        "AND payment_id <> 'y wanders'"
    )
    reconciled(lakehouse)
    gone = lakehouse.lake_rows(RAW_PAYMENTS).filter(change="reconcile")["payment_id"]
    assert gone.sort().to_list() == ["", "y wanders"]
    daemon.settle()
    assert "" not in lakehouse.lake_rows(quarantined)["payment_id"]
    assert not_accounted_for(lakehouse) == {}


# Of each table the key of a row that a view comes to offer without it, and what it has in its place.
BLANKED = [
    ("customers", "customer_id", "ca", "null"),
    ("products", "product_id", "py", "''"),
    ("orders", "order_id", "deleted", "null"),
    ("order_items", "order_id", "moves", "null"),
    ("payments", "payment_id", "y wanders", "''"),
]


def columns_with(lakehouse: Lakehouse, table: str, key: str, lost: str, blank: str) -> str:
    """The columns of a table, of which the key is blank on one row."""
    names = lakehouse.shop_rows(
        f"SELECT attname FROM pg_attribute WHERE attrelid = 'shop.{table}'::regclass AND attnum > 0 ORDER BY attnum"
    )
    return ", ".join(
        f"CASE WHEN {name} = '{lost}' THEN {blank} ELSE {name} END AS {name}" if name == key else name
        for (name,) in names
    )


def as_offered(lakehouse: Lakehouse, home: Path) -> None:
    """What is curated is what a lakehouse makes of the shop that never saw it otherwise."""
    fresh = replace(lakehouse, lake=replace(lakehouse.lake, url=str(home / "fresh")))
    ran(fresh, FIRST, LAST, select=IN_THE_LAKE)
    for table in CURATED:
        # A member that is gone keeps its last name.
        named = ("customer_name", "customer_city", "customer_country_code", "product_name", "category", "manufacturer")
        rows, expected = (one.lake_rows(table).drop(named, strict=False) for one in (lakehouse, fresh))
        assert_frame_equal(rows, expected)


@pytest.mark.long
def test_row_whose_key_became_blank_is_gone_under_its_old_key(
    followed: tuple[Lakehouse, Daemon], tmp_path: Path
) -> None:
    lakehouse, daemon = followed
    for table, key, lost, blank in BLANKED:
        lakehouse.shop(f"""
            ALTER TABLE shop.{table} RENAME TO all_{table};
            CREATE VIEW shop.{table} AS SELECT {columns_with(lakehouse, table, key, lost, blank)} FROM shop.all_{table}
        """)
    reconciled(lakehouse)
    ended = {table.name: lakehouse.lake_rows(table).filter(change="reconcile") for table in RAW}
    assert {name: rows.height for name, rows in ended.items() if rows.height} == {table: 1 for table, *_ in BLANKED}
    for table, key, lost, _ in BLANKED:
        assert ended[table][key].to_list() == [lost]
    daemon.settle()
    assert disagreeing(lakehouse) == {}
    # Their captured dates are run again, as by a backfill: the same rows come without their keys.
    ran(lakehouse, FIRST, LAST, select=IN_THE_LAKE)
    daemon.settle()
    for table, key, lost, _ in BLANKED:
        assert "" in lakehouse.lake_rows(QUARANTINE_OF[table])[key]
        assert lost not in lakehouse.lake_rows(QUARANTINE_OF[table])[key]
    before = versions(lakehouse)
    reconciled(lakehouse)
    assert versions(lakehouse) == before
    assert not_accounted_for(lakehouse) == {}

    for table, key, lost, blank in BLANKED:
        lakehouse.shop(f"""
            CREATE OR REPLACE VIEW shop.{table} AS SELECT * FROM (
                SELECT {columns_with(lakehouse, table, key, lost, blank)} FROM shop.all_{table}
            ) AS offered WHERE {key} <> ''
        """)
    reconciled(lakehouse)
    daemon.settle()
    for table, key, *_ in BLANKED:
        # Customers and products are judged version by version, and every version stays.
        is_left = table in ("customers", "products")
        assert ("" in lakehouse.lake_rows(QUARANTINE_OF[table])[key]) == is_left
    for table in (CUSTOMERS, PRODUCTS):
        (ended_blank,) = lakehouse.lake_rows(table).filter(pl.col(table.key[0]) == "")["is_deleted"]
        assert ended_blank
    assert disagreeing(lakehouse) == {}
    assert not_accounted_for(lakehouse) == {}
    ran(lakehouse, FIRST, LAST, select=MARTS)
    for dimension, key in (("dim_customers", "customer_id"), ("dim_products", "product_id")):
        assert lakehouse.warehouse_rows(f"SELECT 1 FROM marts.{dimension} WHERE {key} = ''") == []
    as_offered(lakehouse, tmp_path)


@pytest.mark.long
def test_deleted_row_with_fast_clock_ends_as_of_its_capture(followed: tuple[Lakehouse, Daemon]) -> None:
    lakehouse, daemon = followed
    lakehouse.shop("UPDATE shop.orders SET updated_at = now() + interval '9 days' WHERE order_id = 'payer'")
    daemon.settle()
    assert "payer" in lakehouse.lake_rows(QUARANTINE_OF["orders"])["order_id"]
    lakehouse.shop("DELETE FROM shop.orders WHERE order_id = 'payer'")
    reconciled(lakehouse)
    daemon.settle()
    assert "payer" not in lakehouse.lake_rows(QUARANTINE_OF["orders"])["order_id"]
    assert lakehouse.lake_rows(ORDERS).filter(order_id="payer")["is_deleted"].to_list() == [True]
    assert lakehouse.wrong_curated() == {}
    assert not_accounted_for(lakehouse) == {}
