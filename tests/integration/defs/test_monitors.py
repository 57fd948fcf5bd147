"""Monitors on a real shop: what stands twice, what is behind, and totals that the shop works out otherwise."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from adbc_driver_postgresql import dbapi

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.defs.checks import monitors
from orders_lakehouse.entities import order_items
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.entities.payments import RAW_PAYMENTS
from orders_lakehouse.pipeline.check_results import evaluations, failing_dates, latest
from orders_lakehouse.pipeline.reconciliation import MISSED, compare_with_shop
from orders_lakehouse.pipeline.source_lag import Uncaptured, uncaptured
from orders_lakehouse.transforms.money import with_total_price
from tests.support.lakehouse import Lakehouse, changed, day, ran
from tests.support.late_changes import SHOP
from tests.support.rows import at, rows

pytestmark = [pytest.mark.slow, pytest.mark.either_engine]

FIRST, LAST = "2017-01-01", "2017-01-06"
IN_THE_LAKE = "group:raw or group:cleansed or group:curated"
# Orders move, one into quarantine; a payment names another order; a state changes, and no number; one clock runs ahead.
CHANGES = """
UPDATE shop.orders SET ordered_at = '2017-01-05 07:00+00', updated_at = '2017-01-08 10:00+00' WHERE order_id = 'moves';
UPDATE shop.payments SET order_id = 'paid after all', updated_at = '2017-01-08 10:00' WHERE payment_id = 'y wanders';
UPDATE shop.orders SET currency = '?', ordered_at = '2017-01-06 09:00+00', updated_at = '2017-01-08 10:00+00'
  WHERE order_id = 'alone on its day';
UPDATE shop.orders SET status = 'shipped', updated_at = '2017-01-08 11:30+00' WHERE order_id = 'payer';
UPDATE shop.orders SET updated_at = now() + interval '2 days' WHERE order_id = 'deleted';
"""
ALL_THERE: dict[str, tuple[int, str | None]] = dict.fromkeys(["raw", "cleansed", "curated", "marts"], (0, None))


def in_force(lakehouse: Lakehouse, check: str) -> pl.DataFrame:
    """What a check finds wrong now."""
    return latest(lakehouse.lake, check_name=check).filter(~pl.col("passed"))


def doubles(lakehouse: Lakehouse) -> dict[tuple[str, str], str]:
    rows = in_force(lakehouse, "stands_once").select("asset", "date", pl.col("detail").str.split(";").list.first())
    return {(asset.split("/")[1], str(on)): detail for asset, on, detail in rows.iter_rows()}


def behind(lakehouse: Lakehouse) -> dict[str, tuple[int, str | None]]:
    """How many minutes each layer is behind, and what waits, as the job says."""
    result = lakehouse.run_job("freshness_job")
    assert result.success
    found: dict[str, tuple[int, str | None]] = {}
    for check in result.get_asset_check_evaluations():
        if check.check_name != "keeps_up":
            continue
        said: dict[str, Any] = {name: value.value for name, value in check.metadata.items()}
        found[check.asset_key.path[0]] = (said["minutes_behind"], said.get("waiting"))
    return found


def severities(lakehouse: Lakehouse) -> dict[str, str]:
    rows = in_force(lakehouse, "keeps_up").select(pl.col("asset").str.split("/").list.first(), "severity")
    return dict(rows.iter_rows())


def build_fact(lakehouse: Lakehouse) -> None:
    """The fact of order lines, as far as freshness looks at it."""
    lines = lakehouse.lake_rows(ORDER_LINES).select(
        "order_id", "line_number", "order_status", "total_price", date_id=pl.col("order_date").dt.strftime("%Y%m%d")
    )
    with dbapi.connect(lakehouse.warehouse_url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA IF NOT EXISTS marts")
        built = lines.cast({"date_id": pl.Int32}).to_arrow()
        cursor.adbc_ingest("fct_order_lines", built, mode="replace", db_schema_name="marts")
        connection.commit()


def rounded_down(rows: Frame) -> Frame:
    """Totals that are a cent too low where the half of one decides."""
    is_half = nw.col("unit_price") == nw.lit(Decimal("1.005"))
    cent = nw.when(is_half).then(nw.lit("0.01")).otherwise(nw.lit("0.00")).cast(nw.Decimal(18, 4))
    return with_total_price(rows).with_columns(total_price=(nw.col("total_price") - cent).cast(nw.Decimal(18, 4)))


def hours_later(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """The shop's clock, so long after the last capture."""
    captured: list[datetime] = lakehouse.lake_rows(RAW_ORDERS)["captured_at"].to_list()
    monkeypatch.setattr(monitors, "shop_now", lambda: max(captured) + timedelta(hours=hours))


@pytest.mark.long
def test_monitors_report_a_changing_shop(lakehouse: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    changed(
        lakehouse,
        f"""{SHOP}
        UPDATE shop.order_items SET unit_price = 1.005, discount = null WHERE order_id = 'payer';
        UPDATE shop.order_items SET unit_price = 'NaN' WHERE order_id = 'spoilt'""",
    )
    with monkeypatch.context() as wrong:
        wrong.setattr(order_items, "with_total_price", rounded_down)
        ran(lakehouse, FIRST, LAST, select=IN_THE_LAKE)

    # What has another version in the shop by now is not compared.
    lakehouse.shop(
        "UPDATE shop.order_items SET quantity = 99, updated_at = '2017-01-06 11:00+00' WHERE order_id = 'moves'"
    )
    assert lakehouse.run_job("reconcile_job").success
    told = ["date", "severity", "expected", "found", "detail"]
    (said,) = in_force(lakehouse, "total_price_as_in_shop").select(told).rows()
    assert said[:4] == (day("2017-01-02"), "ERROR", "7.0100 over 2 lines", "7.0000, 1 lines differ")
    assert "payer / 1: 1.0100, not 1.0000" in said[4]

    hours_later(lakehouse, monkeypatch, 2)
    assert behind(lakehouse) == {**ALL_THERE, "marts": (120, "5 dates wait: 2017-01-02 to 2017-01-06")}
    assert severities(lakehouse) == {"marts": "WARN"}
    build_fact(lakehouse)
    # In a shop that has ended nothing waits, however late it is.
    hours_later(lakehouse, monkeypatch, 9_000)
    assert behind(lakehouse) == ALL_THERE
    assert severities(lakehouse) == {}
    stored = evaluations(lakehouse.lake).filter(check_name="keeps_up").height

    changed(lakehouse, CHANGES)
    assert behind(lakehouse) == {**ALL_THERE, "raw": (90, "3 rows of orders, 1 rows of payments")}
    assert severities(lakehouse) == {"raw": "WARN"}
    # What holds as before is not stored again.
    assert evaluations(lakehouse.lake).filter(check_name="keeps_up").height == stored + 1

    ran(lakehouse, "2017-01-08", select="group:raw")
    hours_later(lakehouse, monkeypatch, 2)
    assert behind(lakehouse) == {
        **ALL_THERE,
        "cleansed": (120, "4 dates wait: 2017-01-02, 2017-01-04 to 2017-01-06"),
    }
    assert severities(lakehouse) == {"cleansed": "WARN"}
    assert "refresh_cleansed_job" in in_force(lakehouse, "keeps_up")["detail"].item()
    assert doubles(lakehouse) == {}

    ran(lakehouse, "2017-01-05", "2017-01-06", select="group:cleansed")
    twice = doubles(lakehouse)
    # Both dates are told of, and the same of both.
    assert {on: {table for table, day_ in twice if day_ == on} for _, on in twice} == {
        "2017-01-02": {"orders", "order_items", "payments"},
        "2017-01-04": {"orders", "order_items"},
        "2017-01-05": {"orders", "order_items", "payments"},
        "2017-01-06": {"orders", "order_items"},
    }
    assert {key: said for key, said in twice.items() if key[1] > "2017-01-04"} == {
        ("orders", "2017-01-05"): "moves on 2017-01-02 and 2017-01-05",
        # In quarantine on the one date, cleansed on the other.
        ("orders", "2017-01-06"): "alone on its day on 2017-01-04 and 2017-01-06",
        ("order_items", "2017-01-05"): "moves / 1 on 2017-01-02 and 2017-01-05",
        ("order_items", "2017-01-06"): "alone on its day / 1 on 2017-01-04 and 2017-01-06",
        ("payments", "2017-01-05"): "y moves on 2017-01-02 and 2017-01-05, y wanders on 2017-01-02 and 2017-01-05",
    }
    assert set(in_force(lakehouse, "stands_once")["severity"]) == {"WARN"}
    # The run of the dates that they left is the one that puts the others right.
    ran(lakehouse, "2017-01-02", "2017-01-04", select="group:cleansed")
    assert doubles(lakehouse) == {}
    hours_later(lakehouse, monkeypatch, 5)
    waits = "3 dates wait: 2017-01-02, 2017-01-04 to 2017-01-05"
    assert behind(lakehouse) == {**ALL_THERE, "curated": (300, waits), "marts": (300, waits)}
    assert severities(lakehouse) == {"curated": "ERROR", "marts": "ERROR"}

    assert lakehouse.run_job("reconcile_job").success
    assert in_force(lakehouse, "total_price_as_in_shop").is_empty()
    # A layer that is behind holds no date back.
    assert failing_dates(latest(lakehouse.lake)) == []


def test_fast_clock_hides_nothing_and_makes_nothing_late(lakehouse: Lakehouse) -> None:
    ahead = "'ahead', 'card', 1, 'EUR', 'captured', null"
    lakehouse.shop(f"INSERT INTO shop.payments VALUES ('p1', {ahead}, now() + interval '20 hours', null)")
    ((now,),) = lakehouse.shop_rows("SELECT now()")
    clock = now + timedelta(hours=20)
    seen = {"updated_at": clock, "captured_on": clock.date(), "captured_at": now}
    lakehouse.lake.append(RAW_PAYMENTS, rows(RAW_PAYMENTS, {"payment_id": "p1", **seen}))
    # It is in raw, and what it says of the time is not true.
    assert uncaptured(lakehouse.lake) == Uncaptured({}, timedelta())

    lakehouse.shop(
        "INSERT INTO shop.orders (order_id, updated_at) VALUES ('o1', now() - interval '5 minutes');"
        f"INSERT INTO shop.payments VALUES ('p2', {ahead}, now(), null)"
    )
    found = uncaptured(lakehouse.lake)
    assert found.rows == {"orders": 1, "payments": 1}
    assert found.behind == timedelta(minutes=5)

    # Of what has come since then, the sensors have an hour to take it.
    compared = compare_with_shop(lakehouse.lake, RAW_PAYMENTS, Calendar(day("2017-01-01"), "UTC"), [now.date()]).by_date
    assert MISSED not in set(compared["difference"])


def test_uncaptured_shop_is_far_ahead(lakehouse: Lakehouse) -> None:
    changed(lakehouse, SHOP)
    rows = "2 rows of customers, 2 rows of products, 14 rows of orders, 15 rows of order_items, 5 rows of payments"
    # From a product of last December to an order of the 6th.
    minutes = round((at("2017-01-06 11:00") - at("2016-12-15")).total_seconds() / 60)
    assert behind(lakehouse) == {**ALL_THERE, "raw": (minutes, rows)}
    assert severities(lakehouse) == {"raw": "ERROR"}
