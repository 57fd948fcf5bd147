"""Long ranges of dates: the empty ones at either end are left out, and said to be."""

from datetime import date, timedelta
from io import StringIO

import pytest

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.cli.backfill import _with_data
from orders_lakehouse.pipeline.source_lag import first_and_last_change
from tests.support.lakehouse import Lakehouse
from tests.support.rows import on

pytestmark = pytest.mark.slow

CALENDAR = Calendar(on("2017-01-01"), "UTC")
LONG = (on("2017-01-01"), on("2026-11-01"))
ONE_PRODUCT = "INSERT INTO shop.products VALUES ('p', 'Tea', 'Food', 'Maker', 3, 'EUR', '{}', null)"
ONE_ORDER = """
INSERT INTO shop.orders (order_id, ordered_at, status, currency, updated_at)
  VALUES ('o', '{}', 'paid', 'EUR', '2020-05-05 10:00+00')
"""


def test_shop_changes_span_first_to_last_clock(lakehouse: Lakehouse) -> None:
    assert first_and_last_change(CALENDAR) is None
    lakehouse.shop(ONE_PRODUCT.format("2020-05-04 23:59+00"))
    assert first_and_last_change(CALENDAR) == (on("2020-05-04"), on("2020-05-04"))
    lakehouse.shop(ONE_ORDER.format("2019-03-03"))
    assert first_and_last_change(CALENDAR) == (on("2019-03-03"), on("2020-05-05"))
    # Of before the first partition, and of after today.
    lakehouse.shop("UPDATE shop.orders SET ordered_at = '-infinity', updated_at = 'infinity'")
    ((today,),) = lakehouse.shop_rows("SELECT (now() AT TIME ZONE 'UTC')::date")
    assert first_and_last_change(CALENDAR) == (on("2017-01-01"), today)


def test_long_range_is_cut_to_dates_with_changes(lakehouse: Lakehouse) -> None:
    lakehouse.shop(ONE_PRODUCT.format("2020-05-04") + ";" + ONE_ORDER.format("2020-05-01"))
    out = StringIO()
    assert _with_data([LONG], out) == [(on("2020-05-01"), on("2020-05-06"))]
    assert out.getvalue() == (
        "3,586 of these dates come before or after all dates of the shop and the lake: they are left out.\n"
    )
    # What the lake has is among them, even if the shop has forgotten it.
    lakehouse.run("2020-05-01", "2020-05-05", select="group:raw")
    lakehouse.shop("DELETE FROM shop.products; UPDATE shop.orders SET ordered_at = updated_at")
    assert _with_data([LONG], out) == [(on("2020-05-04"), on("2020-05-06"))]


def test_empty_dates_are_cut_and_one_date_always_stays(lakehouse: Lakehouse) -> None:
    out = StringIO()
    assert _with_data([LONG], out) == [(LONG[1], LONG[1])]
    lakehouse.shop(ONE_PRODUCT.format("2020-05-04"))
    without: date = on("2020-05-04")
    parts = [(LONG[0], without - timedelta(days=1)), (without + timedelta(days=1), LONG[1])]
    assert _with_data(parts, out) == [(on("2020-05-05"), on("2020-05-05"))]
    short = [(on("2018-01-01"), on("2018-12-31"))]
    assert _with_data(short, out) == short
