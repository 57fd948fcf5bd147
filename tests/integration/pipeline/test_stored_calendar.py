"""A lake whose calendar differs from the time zone data of this machine and of the shop's server."""

import shutil
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import narwhals as nw
import polars as pl
import pytest

from orders_lakehouse.entities.customers import CUSTOMERS
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.pipeline.stored_calendar import calendar_of, days_with_holidays, stored
from orders_lakehouse.sources.postgres.changes import changed_dates
from orders_lakehouse.tables import CALENDAR
from tests.support.calendars import calendar_in, moved
from tests.support.lakehouse import Lakehouse, failures, lakehouse_on
from tests.support.rows import on
from tests.support.terminal import command_line

pytestmark = pytest.mark.slow

ZONE = "America/Vancouver"
SHOP = """
INSERT INTO shop.customers (customer_id, full_name, country_code, registered_at, updated_at) VALUES
  ('c', 'Ada', 'GB', '2017-01-04 07:30Z', '2017-01-05 20:00Z');
INSERT INTO shop.products VALUES ('p', 'Tea', 'Food', 'Maker', 3.00, 'EUR', '2016-12-15', null);
INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at) VALUES
  ('in the evening', 'c', '2017-01-03 18:00Z', 'paid', 'EUR', '2017-01-03 18:00Z'),
  ('near midnight', 'c', '2017-01-04 07:30Z', 'paid', 'EUR', '2017-01-04 07:30Z'),
  ('in the morning', 'c', '2017-01-04 18:00Z', 'paid', 'EUR', '2017-01-04 18:00Z');
INSERT INTO shop.order_items
  SELECT order_id, 1, 'p', 1, 3.0000, 0, updated_at, null FROM shop.orders;
"""


@pytest.fixture
def far(
    tmp_path: Path, postgres_url_factory: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lakehouse]:
    """A lakehouse in Vancouver with zone data of its own: in the first days of 2017, dates begin an hour earlier."""
    monkeypatch.setenv("LAKEHOUSE_TIMEZONE", ZONE)
    with lakehouse_on(None, tmp_path, postgres_url_factory) as made:
        made.shop(SHOP)
        calendar = moved(calendar_in(ZONE), on("2017-01-02"), on("2017-01-08"), timedelta(hours=-1))
        # And a holiday that no package knows.
        days_with_holidays(made.lake, on("2017-01-01"), on("2018-12-31"))
        is_fifth = pl.col("date") == on("2017-01-05")
        days = stored(made.lake).with_columns(
            begins_at=calendar.midnights,
            is_holiday=pl.col("is_holiday") | is_fifth,
            holiday_name=pl.when(is_fifth).then(pl.lit("Day of the Lake")).otherwise("holiday_name"),
            zone_data=pl.lit("2016x"),
        )
        made.lake.replace_all(CALENDAR, lambda _: nw.from_native(days.lazy()))
        yield made


def dates(lakehouse: Lakehouse) -> dict[str, dict[str, date]]:
    """Dates of each order: in raw, in the lake, and in the facts."""
    raw, orders = lakehouse.lake_rows(RAW_ORDERS), lakehouse.lake_rows(ORDERS)
    fact = "SELECT order_id, to_date(date_id::text, 'YYYYMMDD') FROM marts.fct_orders"
    return {
        "captured_on": dict(raw.select("order_id", "captured_on").iter_rows()),
        "order_date": dict(orders.select("order_id", "order_date").iter_rows()),
        "fact": dict(lakehouse.warehouse_rows(fact)),
    }


@pytest.mark.long
def test_stored_calendar_decides_until_newer_data_is_applied(far: Lakehouse) -> None:
    by_the_server = f"SELECT (ordered_at AT TIME ZONE '{ZONE}')::date FROM shop.orders WHERE order_id = 'near midnight'"
    assert far.shop_rows(by_the_server) == [(on("2017-01-03"),)]
    # The sensor of the shop and the capture count alike.
    found, _ = changed_dates({}, lambda _: {}, calendar_of(far.lake))
    assert found == [on(day) for day in ("2017-01-01", "2017-01-03", "2017-01-04", "2017-01-05")]
    for first, last in (("2017-01-01", "2017-01-03"), ("2017-01-04", "2017-01-06")):
        result = far.run(first, last)
        assert result.success, failures(result)
    by_lake = {
        "in the evening": on("2017-01-03"),
        "near midnight": on("2017-01-04"),
        "in the morning": on("2017-01-04"),
    }
    assert dates(far) == dict.fromkeys(("captured_on", "order_date", "fact"), by_lake)
    assert far.lake_rows(CUSTOMERS)["registration_date"].to_list() == [on("2017-01-04")]
    holiday = "SELECT date FROM marts.dim_date WHERE is_holiday AND date BETWEEN '2017-01-03' AND '2017-01-10'"
    assert far.warehouse_rows(holiday) == [(on("2017-01-05"),)]

    shown = command_line(["calendar"])
    assert shown.returncode == 0, shown.stderr
    assert "data: 2016x; installed: " in shown.stdout
    assert "7 dates begin at another instant:\n  2017-01-02: 2017-01-02 07:00:00 UTC" in shown.stdout
    assert "1 dates have another holiday:\n  2017-01-05: Day of the Lake → none" in shown.stdout
    assert "backfill" not in shown.stdout
    assert dates(far)["order_date"] == by_lake

    applied = command_line(["calendar", "--apply"])
    assert applied.returncode == 0, applied.stderr
    (command,) = [line.strip() for line in applied.stdout.splitlines() if "backfill" in line]
    # The date on which the customer was captured, and both dates of the order.
    assert command.endswith("backfill 2017-01-03 2017-01-05")
    result = far.run("2017-01-03", "2017-01-05")
    assert result.success, failures(result)
    by_machine = {**by_lake, "near midnight": on("2017-01-03")}
    assert (dates(far)["order_date"], dates(far)["fact"]) == (by_machine, by_machine)
    assert far.lake_rows(CUSTOMERS)["registration_date"].to_list() == [on("2017-01-03")]
    assert far.warehouse_rows(holiday) == []
    again = command_line(["calendar"])
    assert "Every date begins at the same instant in both, and has the same holiday." in again.stdout


@pytest.mark.thorough
def test_lake_made_without_a_calendar_goes_on(far: Lakehouse) -> None:
    shutil.rmtree(Path(far.lake.location(CALENDAR)))
    assert far.run("2017-01-01", "2017-01-04").success
    before = dates(far)
    shutil.rmtree(Path(far.lake.location(CALENDAR)))
    result = far.run("2017-01-01", "2017-01-04")
    assert result.success, failures(result)
    assert dates(far) == before
    assert calendar_of(far.lake).midnights.equals(calendar_in(ZONE).midnights)
