"""Rows that the shop deletes instead of marking them: what becomes of them, and of those that come back."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.dates import days
from orders_lakehouse.entities.customers import CUSTOMERS
from orders_lakehouse.entities.order_items import RAW_ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.entities.payments import RAW_PAYMENTS
from orders_lakehouse.entities.products import PRODUCTS
from orders_lakehouse.pipeline import reconciliation, tombstones
from orders_lakehouse.pipeline.check_results import latest
from orders_lakehouse.pipeline.reconciliation import GONE, OTHERWISE, compare_with_shop
from orders_lakehouse.settings import settings
from orders_lakehouse.sources.postgres import versions as reader
from orders_lakehouse.tables import CURATED, QUARANTINE_OF, RAW
from tests.support.daemon import DERIVED, Daemon
from tests.support.lakehouse import Lakehouse, assert_same_lake, changed, day, failures, not_accounted_for, ran
from tests.support.late_changes import IN_THE_LAKE
from tests.support.terminal import command_line

# The shop of late changes is made once for those of this group.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("deletes")]

MARTS = "group:warehouse or group:staging or group:marts"
FIRST, LAST = "2017-01-01", "2017-01-10"
AGREES = "agrees_with_shop"


def reconciled(lakehouse: Lakehouse, how: str = "apply") -> None:
    """What the command does: all rows are compared, and what differs is put right; the oracle learns of it."""
    result = lakehouse.run_job("reconcile_job", reconcile=how)
    assert result.success, failures(result)
    if how != "compare":
        lakehouse.oracle.reconcile()


def disagreeing(lakehouse: Lakehouse) -> dict[tuple[str, str], str]:
    """What does not agree with the shop, by table and date."""
    rows = latest(lakehouse.lake, check_name=AGREES).filter(~pl.col("passed"))
    return {(row["asset"], str(row["date"])): row["detail"] for row in rows.iter_rows(named=True)}


def versions(lakehouse: Lakehouse) -> dict[str, int]:
    return {table.path: lakehouse.lake.open(table).version() for table in RAW}


def all_is_well(lakehouse: Lakehouse, home: Path) -> None:
    """The lake shows the shop as it is, accounts for every version, and is what a full refresh from raw makes of it."""
    assert disagreeing(lakehouse) == {}
    assert lakehouse.wrong_curated() == {}
    assert not_accounted_for(lakehouse) == {}
    again = lakehouse.copy_of_lake(home / "again", "raw")
    ran(again, FIRST, LAST, select="group:cleansed or group:curated")
    assert_same_lake(lakehouse, again)


@pytest.fixture
def followed(built: Lakehouse) -> tuple[Lakehouse, Daemon]:
    """A lakehouse whose sensors have seen all that there is."""
    daemon = Daemon(built)
    daemon.settle()
    return built, daemon


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
        assert tombstones.height == len(DELETED[table.name])
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
    assert {name: rows.height for name, rows in ended.items()} == {table: 1 for table, *_ in BLANKED}
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


@pytest.mark.long
def test_large_table_is_compared_in_parts(
    followed: tuple[Lakehouse, Daemon], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lakehouse, daemon = followed
    lakehouse.shop(
        "DELETE FROM shop.order_items WHERE product_id = 'px' AND order_id <> 'moves';"
        "UPDATE shop.order_items SET quantity = 3 WHERE order_id = 'payer'"
    )
    calendar, dates = Calendar(day(FIRST), "UTC"), days(day(FIRST), day(LAST))
    at_once = compare_with_shop(lakehouse.lake, RAW_ORDER_ITEMS, calendar, dates)
    assert set(at_once.differing["difference"]) == {GONE, OTHERWISE}
    monkeypatch.setattr(reconciliation, "_ROWS_AT_ONCE", 3)
    monkeypatch.setattr(tombstones, "row_limit", lambda: 2)
    monkeypatch.setattr(reader, "BATCH_ROWS", 4)
    in_parts = compare_with_shop(lakehouse.lake, RAW_ORDER_ITEMS, calendar, dates)
    assert in_parts.by_date.equals(at_once.by_date)
    assert in_parts.standing.equals(at_once.standing)
    reconciled(lakehouse)
    daemon.settle()
    all_is_well(lakehouse, tmp_path)


@pytest.mark.thorough
def test_tombstone_whose_file_is_lost_is_written_again(followed: tuple[Lakehouse, Daemon], tmp_path: Path) -> None:
    lakehouse, daemon = followed
    lakehouse.shop("DELETE FROM shop.orders WHERE order_id = 'payer'")
    reconciled(lakehouse)
    daemon.settle()
    of_date = Path(lakehouse.lake.location(RAW_ORDERS)).glob("captured_on=2017-01-02/*.parquet")
    max(of_date, key=lambda path: path.stat().st_mtime).unlink()
    done = command_line(["recapture", "orders", "2017-01-02"])
    assert done.returncode == 0, done.stderr
    assert lakehouse.lake_rows(RAW_ORDERS).filter(change="reconcile").is_empty()
    reconciled(lakehouse)
    daemon.settle()
    all_is_well(lakehouse, tmp_path)


class TestTheGuard:
    """More rows that are gone at once than are taken for granted."""

    @pytest.mark.long
    def test_emptied_table_is_reported_and_kept(self, followed: tuple[Lakehouse, Daemon], tmp_path: Path) -> None:
        lakehouse, daemon = followed
        lakehouse.shop("DELETE FROM shop.payments; DELETE FROM shop.order_items WHERE order_id = 'payer'")
        reconciled(lakehouse)
        told = disagreeing(lakehouse)
        assert {asset for asset, _ in told} == {"raw/payments"}
        assert told["raw/payments", "2017-01-02"].startswith(
            "2 gone from the shop (y moves, y wanders); 5 of 5 rows of the table"
        )
        assert "lakehouse reconcile --apply --allow" in told["raw/payments", "2017-01-02"]
        assert lakehouse.lake_rows(RAW_PAYMENTS).filter(change="reconcile").is_empty()
        reconciled(lakehouse, "allow")
        daemon.settle()
        all_is_well(lakehouse, tmp_path)

    @pytest.mark.long
    def test_emptied_date_is_reported_and_other_deletes_apply(
        self, followed: tuple[Lakehouse, Daemon], tmp_path: Path
    ) -> None:
        lakehouse, daemon = followed
        more = ", ".join(
            f"('m{number}', 'payer', 'card', 1, 'EUR', 'captured', null, '2017-01-0{7 + number // 100} 08:00+00', null)"
            for number in range(200)
        )
        lakehouse.shop(f"INSERT INTO shop.payments VALUES {more}")
        ran(lakehouse, FIRST, LAST, select="group:raw")
        daemon.settle()
        lakehouse.shop("DELETE FROM shop.payments WHERE payment_id IN ('m1','m2','m3','m4','m5','m6','m101')")
        reconciled(lakehouse)
        assert list(disagreeing(lakehouse)) == [("raw/payments", "2017-01-07")]
        assert "6 of 100 rows of the date are gone at once" in disagreeing(lakehouse)["raw/payments", "2017-01-07"]
        assert lakehouse.lake_rows(RAW_PAYMENTS).filter(change="reconcile")["payment_id"].to_list() == ["m101"]
        reconciled(lakehouse, "allow")
        daemon.settle()
        all_is_well(lakehouse, tmp_path)


def test_nightly_job_only_reports_if_configured(
    followed: tuple[Lakehouse, Daemon], monkeypatch: pytest.MonkeyPatch
) -> None:
    lakehouse, _ = followed
    lakehouse.shop("DELETE FROM shop.payments WHERE payment_id = 'y moves'")
    monkeypatch.setenv("LAKEHOUSE_RECONCILE_APPLIES", "false")
    settings.cache_clear()
    before = versions(lakehouse)
    assert lakehouse.run_job("reconcile_job").success
    assert list(disagreeing(lakehouse)) == [("raw/payments", "2017-01-02")]
    assert versions(lakehouse) == before
    monkeypatch.delenv("LAKEHOUSE_RECONCILE_APPLIES")
    settings.cache_clear()
    assert lakehouse.run_job("reconcile_job").success
    assert disagreeing(lakehouse) == {}
    assert versions(lakehouse) != before


def reconcile(*options: str) -> tuple[int, str]:
    done = command_line(["reconcile", *options])
    return done.returncode, done.stdout + done.stderr


@pytest.mark.long
def test_command_prints_differences_heals_and_names_dates(built: Lakehouse) -> None:
    built.shop(
        "DELETE FROM shop.orders WHERE order_id = 'deleted'; DELETE FROM shop.customers;"
        "INSERT INTO shop.payments VALUES ('y late', 'payer', 'cash', 1, 'EUR', 'captured', null, '2017-01-04', null)"
    )
    before = versions(built)
    status, out = reconcile()
    assert status == 1
    assert "raw/orders on 2017-01-03: 1 gone from the shop (deleted)\n" in out
    assert "raw/payments on 2017-01-04: 1 never captured (y late)\n" in out
    assert "reconcile --apply" in out
    assert versions(built) == before

    status, out = reconcile("--apply")
    assert status == 1
    assert "raw/orders on 2017-01-03: 1 gone from the shop (deleted) - put right\n" in out
    assert "raw/payments on 2017-01-04: 1 never captured (y late) - put right\n" in out
    assert "1 gone from the shop (cb); 2 of 2 rows of the table are gone at once" in out
    assert "backfill 2017-01-02 2017-01-03 --job derive_dates_job\n" in out

    status, out = reconcile("--apply", "--allow")
    assert status == 0
    assert "The shop and raw agree, row by row, but for the last hour" in out
    ran(built, FIRST, LAST, select="group:cleansed or group:curated")
    built.oracle.reconcile()
    assert built.wrong_curated() == {}

    assert reconcile("--allow")[0] == 1
