"""What the comparison with the shop puts right, and what it leaves to a person."""

from pathlib import Path

import pytest

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.dates import days
from orders_lakehouse.entities.order_items import RAW_ORDER_ITEMS
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.entities.payments import RAW_PAYMENTS
from orders_lakehouse.pipeline import reconciliation, tombstones
from orders_lakehouse.pipeline.reconciliation import DIFFERENT, GONE, compare_with_shop
from orders_lakehouse.settings import settings
from orders_lakehouse.sources.postgres import versions as reader
from tests.support.daemon import Daemon
from tests.support.deletes import FIRST, LAST, all_is_well, disagreeing, reconciled, versions
from tests.support.lakehouse import Lakehouse, day, ran
from tests.support.terminal import command_line

pytestmark = pytest.mark.slow


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
    assert set(at_once.differing["difference"]) == {GONE, DIFFERENT}
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
    assert "raw/orders on 2017-01-03: 1 gone from the shop (deleted) - corrected\n" in out
    assert "raw/payments on 2017-01-04: 1 never captured (y late) - corrected\n" in out
    assert "1 gone from the shop (cb); 2 of 2 rows of the table are gone at once" in out
    assert "backfill 2017-01-02 2017-01-03 --job derive_dates_job\n" in out

    status, out = reconcile("--apply", "--allow")
    assert status == 0
    assert "The shop and raw agree, row by row, except for the last hour" in out
    ran(built, FIRST, LAST, select="group:cleansed or group:curated")
    built.oracle.reconcile()
    assert built.wrong_curated() == {}

    assert reconcile("--allow")[0] == 1
