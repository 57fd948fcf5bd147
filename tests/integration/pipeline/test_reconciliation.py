"""Upkeep: the shop beside raw, dates derived anew, and the index of raw made again."""

import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.defs.reconciliation import repair_schedule
from orders_lakehouse.pipeline.check_results import failing_dates, latest
from orders_lakehouse.pipeline.key_index import rebuild_key_dates
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import KEY_DATES
from tests.support.lakehouse import Lakehouse, changed, day, failures, not_accounted_for, ran
from tests.support.late_changes import SHOP

pytestmark = [pytest.mark.slow, pytest.mark.either_engine]

IN_THE_LAKE = "group:raw or group:cleansed or group:curated"
FIRST, LAST = "2017-01-01", "2017-01-10"


def checked(lakehouse: Lakehouse, job: str) -> dict[str, dict[str, Any]]:
    """What the checks of a job say of the run, by table, where they do not hold."""
    result = lakehouse.run(FIRST, LAST, job=job) if job == "repair_job" else lakehouse.run_job(job, reconcile="compare")
    assert result.success, failures(result)
    events = [
        event.asset_check_evaluation_data
        for event in result.all_events
        if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    return {
        check.asset_key.to_user_string(): {name: value.value for name, value in check.metadata.items()}
        for check in events
        if check.partition is None and not check.passed
    }


def details(lakehouse: Lakehouse, table: str) -> dict[str, str]:
    rows = latest(lakehouse.lake, asset=f"raw/{table}", check_name="agrees_with_shop")
    return {str(row["date"]): row["detail"] for row in rows.iter_rows(named=True) if not row["passed"] and row["date"]}


@pytest.mark.long
def test_shop_and_raw_agree_until_a_change_without_clock(built: Lakehouse) -> None:
    assert checked(built, "reconcile_job") == {}
    changed(
        built,
        "DELETE FROM shop.orders WHERE order_id = 'deleted';"
        "UPDATE shop.order_items SET quantity = 99 WHERE order_id = 'payer';"
        # Its clock is two days old: it was committed too late for anybody to look there again.
        "INSERT INTO shop.payments VALUES ('y late', 'payer', 'cash', 1, 'EUR', 'captured', null, '2017-01-04', null);"
        # So has a later version of an order.
        "UPDATE shop.orders SET status = 'shipped', updated_at = '2017-01-05' WHERE order_id = 'gets an item';"
        # What is newer than the last capture waits for the next one.
        "UPDATE shop.orders SET status = 'shipped', updated_at = '2017-01-08' WHERE order_id = 'moves'",
    )
    found = checked(built, "reconcile_job")
    assert {table: said["failed_dates"] for table, said in found.items()} == {
        "raw/orders": "2017-01-03, 2017-01-05",
        "raw/order_items": "2017-01-02",
        # Its total is that of a line that the shop has no more.
        "cleansed/order_items": "2017-01-02",
        "raw/payments": "2017-01-04",
    }
    assert details(built, "orders") == {
        "2017-01-03": "1 gone from the shop (deleted)",
        "2017-01-05": "1 different from raw (gets an item)",
    }
    assert details(built, "order_items") == {"2017-01-02": "1 different from raw (payer / 1)"}
    assert details(built, "payments") == {"2017-01-04": "1 never captured (y late)"}

    # To run the dates again captures what was missed; a row that is gone stands, until the shop has it again.
    ran(built, FIRST, LAST, select=IN_THE_LAKE)
    assert set(checked(built, "reconcile_job")) == {"raw/orders"}
    changed(
        built,
        "INSERT INTO shop.orders (order_id, updated_at, deleted_at) VALUES ('deleted', '2017-01-09', '2017-01-09')",
    )
    ran(built, "2017-01-09", select="group:raw")
    assert checked(built, "reconcile_job") == {}
    assert failing_dates(latest(built.lake, check_name="agrees_with_shop")) == []


def test_uncaptured_dates_are_not_missed(lakehouse: Lakehouse) -> None:
    changed(lakehouse, SHOP)
    ran(lakehouse, "2017-01-04", "2017-01-10", select=IN_THE_LAKE)
    assert checked(lakehouse, "reconcile_job") == {}


@pytest.mark.long
def test_repair_changes_only_underived_dates(built: Lakehouse) -> None:
    assert checked(built, "repair_job") == {}
    changed(built, "UPDATE shop.orders SET status = 'paid', updated_at = '2017-01-08' WHERE order_id = 'gets an item'")
    ran(built, "2017-01-08", select="group:raw")
    found = checked(built, "repair_job")
    assert found["curated/daily_sales"]["changed"] == {
        "cleansed/orders": "2017-01-02",
        "curated/order_lines": "2017-01-02",
    }
    assert built.wrong_curated() == {}
    assert checked(built, "repair_job") == {}


def test_repair_is_of_the_last_dates_that_have_orders(built: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_REPAIR_DAYS", "3")
    settings.cache_clear()
    context = dg.build_schedule_context(instance=built.instance, resources={"lake": built.lake})
    request = repair_schedule(context)
    assert isinstance(request, dg.RunRequest)
    assert [request.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end")] == [
        "2017-01-04",
        "2017-01-06",
    ]


def test_partly_lost_index_is_found_by_the_run_of_any_date(built: Lakehouse) -> None:
    built.lake.find(KEY_DATES).delete("captured_on <= '2017-01-04'")
    assert not built.run("2017-01-06", select="group:cleansed").success
    rebuild_key_dates(built.lake, Calendar(day(FIRST), "UTC"))
    ran(built, "2017-01-06", select="group:cleansed or group:curated")
    assert built.wrong_curated() == {}


def test_index_of_raw_can_be_made_again(built: Lakehouse) -> None:
    calendar = Calendar(day(FIRST), "UTC")
    whole = built.lake_rows(KEY_DATES)
    assert rebuild_key_dates(built.lake, calendar) == 0

    shutil.rmtree(Path(built.lake.url, KEY_DATES.path))
    lost = built.run(FIRST, LAST, select="group:cleansed")
    # Without it nothing is found, and the accounts say so.
    assert not lost.success
    assert "rebuild-key-dates" in str(latest(built.lake, check_name="no_row_lost")["detail"].to_list())
    assert not_accounted_for(built) != {}

    assert rebuild_key_dates(built.lake, calendar) == whole.height
    assert built.lake_rows(KEY_DATES).sort(whole.columns).equals(whole.sort(whole.columns))
    ran(built, FIRST, LAST, select="group:cleansed or group:curated")
    assert built.wrong_curated() == {}
