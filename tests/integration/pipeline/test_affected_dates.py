"""Which dates a change touches: those, derived alone, leave every table as a full refresh would."""

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.defs.checks import run_checks
from orders_lakehouse.delta import batches, table_cache
from orders_lakehouse.delta.compaction import compact
from orders_lakehouse.delta.log import Part, parts_of_run
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.customers import CUSTOMERS
from orders_lakehouse.entities.order_items import ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.entities.payments import PAYMENTS
from orders_lakehouse.entities.products import PRODUCTS
from orders_lakehouse.pipeline.affected_dates import affected_dates, unaccounted_dates, versions_now
from orders_lakehouse.pipeline.capture import capture
from orders_lakehouse.sources.base import Window
from orders_lakehouse.sources.postgres.versions import read_versions
from orders_lakehouse.tables import CLEANSED
from tests.support.lakehouse import Lakehouse, assert_same_lake, changed, day, not_accounted_for, ran
from tests.support.late_changes import CHANGES, CHANGES_BACK

pytestmark = [pytest.mark.slow, pytest.mark.either_engine]

CALENDAR = Calendar(day("2017-01-01"), "UTC")
DERIVED = "(group:cleansed or group:curated) and not (key:cleansed/customers or key:cleansed/products)"
BY_ORDER_DATE = (ORDERS, ORDER_ITEMS, PAYMENTS)
MEMBERS = {CUSTOMERS.name, PRODUCTS.name}


def captured(lakehouse: Lakehouse, script: str) -> None:
    """Change the shop, and capture the tables that the script names, or all; members are cleansed, too."""
    changed(lakehouse, script)
    names = [table.name for table in CLEANSED]
    captured = [name for name in names if f"shop.{name}" in script] or names
    assets = [f"raw/{name}" for name in captured] + [f"cleansed/{name}" for name in captured if name in MEMBERS]
    ran(lakehouse, "2017-01-01", "2017-01-10", select=" or ".join(f"key:{asset}" for asset in assets))


def derived(lakehouse: Lakehouse, since: Mapping[str, Any]) -> list[str]:
    """Derive the touched dates, one by one, the last first; returns them."""
    dates = [str(one) for one in affected_dates(lakehouse.lake, since, CALENDAR)]
    for one in reversed(dates):
        ran(lakehouse, one, select=DERIVED)
    return dates


@pytest.mark.thorough
def test_affected_dates_are_all_that_has_to_be_derived(built: Lakehouse, tmp_path: Path) -> None:
    for script in (CHANGES, CHANGES_BACK):
        before = versions_now(built.lake)
        captured(built, script)
        derived(built, before)
        assert built.wrong_curated() == {}
        assert not_accounted_for(built) == {}

    again = built.copy_of_lake(tmp_path / "full", "raw")
    ran(again, "2017-01-01", "2017-01-10", select="group:cleansed or group:curated")
    assert_same_lake(built, again)


def test_range_in_batches_equals_the_whole_range(
    built: Lakehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    if engine == "spark":
        pytest.skip("a cluster needs no portions")
    again = built.copy_of_lake(tmp_path / "portions", "raw")
    with monkeypatch.context() as patched:
        # A date that has rows is a portion of its own, and the checks find the parts of the run together again.
        patched.setattr(batches, "_MOST_ROWS", 1)
        ran(again, "2017-01-01", "2017-01-10", select="group:cleansed or group:curated")
    assert again.lake.open(ORDERS).version() > built.lake.open(ORDERS).version() + 1
    assert_same_lake(built, again)
    assert not_accounted_for(again) == {}


# Each on top of the ones before it.
CASES = [
    ("SELECT 1", []),
    (
        "UPDATE shop.orders SET ordered_at = '2017-01-07 09:00+00', updated_at = '2017-01-08 10:00+00' "
        "WHERE order_id = 'moves'",
        ["2017-01-02", "2017-01-07"],
    ),
    (
        "INSERT INTO shop.order_items VALUES ('payer', 2, 'py', 1, 8, 0, '2017-01-09 10:00+00', null)",
        ["2017-01-02"],
    ),
    (
        "INSERT INTO shop.order_items VALUES ('nobody knows', 1, 'py', 1, 8, 0, '2017-01-09 10:00+00', null)",
        ["2017-01-09"],
    ),
    # A line that was deleted waits for its order, too.
    (
        "UPDATE shop.order_items SET deleted_at = null, updated_at = '2017-01-10 10:00+00' "
        "WHERE order_id = 'left behind'",
        ["2017-01-04", "2017-01-10"],
    ),
    # Its line waits at the 3rd, its payment at the 6th.
    (
        "INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at) VALUES "
        "('comes later', 'cb', '2017-01-01 20:00+00', 'paid', 'EUR', '2017-01-08 10:00+00')",
        ["2017-01-01", "2017-01-03", "2017-01-06"],
    ),
    # From one order to another.
    (
        "UPDATE shop.payments SET order_id = 'paid after all', updated_at = '2017-01-08 10:00+00' "
        "WHERE payment_id = 'y wanders'",
        ["2017-01-02", "2017-01-05"],
    ),
    # Valid from the 5th on: of the customer's orders those that were placed then or later.
    (
        "UPDATE shop.customers SET address = 'New Street 1', updated_at = '2017-01-05 12:00+00' "
        "WHERE customer_id = 'ca'",
        ["2017-01-05", "2017-01-06"],
    ),
    # The first version of a member is valid from the beginning of time.
    (
        "INSERT INTO shop.customers (customer_id, full_name, updated_at) VALUES ('cu', 'Cleo', '2017-01-09 10:00+00')",
        ["2017-01-02", "2017-01-09"],
    ),
    # A version that breaks a rule opens nothing.
    ("UPDATE shop.products SET updated_at = '2099-01-01 00:00+00' WHERE product_id = 'px'", []),
    # A code that no list knows is left blank; the version counts.
    (
        "UPDATE shop.products SET currency = 'XXL', updated_at = '2017-01-09 11:00+00' WHERE product_id = 'px'",
        ["2017-01-09"],
    ),
]


def test_no_other_date_is_affected(built: Lakehouse) -> None:
    for script, touched in CASES:
        before = versions_now(built.lake)
        captured(built, script)
        assert [str(one) for one in affected_dates(built.lake, before, CALENDAR)] == touched, script


def test_unwatched_lake_reports_unaccounted_dates(built: Lakehouse) -> None:
    last = day("2017-01-10")
    assert unaccounted_dates(built.lake, (*BY_ORDER_DATE, CUSTOMERS, PRODUCTS), CALENDAR, last) == []
    captured(
        built,
        "UPDATE shop.orders SET status = 'shipped', updated_at = '2017-01-08 10:00+00' WHERE order_id = 'moves'",
    )
    assert unaccounted_dates(built.lake, BY_ORDER_DATE, CALENDAR, last) == [day("2017-01-02")]
    changed(built, "UPDATE shop.customers SET city = 'Bath', updated_at = '2017-01-09' WHERE customer_id = 'ca'")
    ran(built, "2017-01-09", select="key:raw/customers")
    assert unaccounted_dates(built.lake, (CUSTOMERS, PRODUCTS), CALENDAR, last) == [day("2017-01-09")]


def test_missing_version_affects_every_date(built: Lakehouse) -> None:
    everything = affected_dates(built.lake, {}, CALENDAR)
    gone = {name: 10000 for name in versions_now(built.lake) if not name.endswith(" by")}
    assert affected_dates(built.lake, gone, CALENDAR) == everything


def test_version_with_removed_files_affects_every_date(built: Lakehouse) -> None:
    # Two changes of orders that are captured on the 8th, and then the files that the first one left are gone.
    scripts = [script for script, _ in CASES if "orders" in script and "2017-01-08" in script][:2]
    captured(built, scripts[0])
    before = versions_now(built.lake)
    captured(built, scripts[1])
    everything = affected_dates(built.lake, {**before, RAW_ORDERS.path: None}, CALENDAR)
    assert affected_dates(built.lake, before, CALENDAR) != everything
    raw = table_cache.open_own(built.lake.location(RAW_ORDERS))
    assert compact(raw, RAW_ORDERS, [[day("2017-01-08")]])
    raw.vacuum(0, enforce_retention_duration=False, dry_run=False)
    assert affected_dates(built.lake, before, CALENDAR) == everything


def test_capture_during_derivation_is_not_lost(built: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks judge what the run has read; the next run of the date takes what came meanwhile."""
    before = versions_now(built.lake)

    def meanwhile(
        lake: Lake, tables: list[Table], run_id: str, started: datetime, dates: tuple[date, date]
    ) -> list[Part]:
        for batch in read_versions(RAW_ORDERS, Window(day("2017-01-01"), day("2017-01-10"), CALENDAR)):
            capture(lake, RAW_ORDERS, batch.rows.with_columns(run_id=pl.lit("another")), CALENDAR)
        return parts_of_run(lake, tables, run_id, started, dates)

    changed(
        built,
        "UPDATE shop.orders SET status = 'shipped', updated_at = '2017-01-08 10:00+00' WHERE order_id = 'moves'",
    )
    with monkeypatch.context() as patched:
        patched.setattr(run_checks, "parts_of_run", meanwhile)
        ran(built, "2017-01-02", select=DERIVED)
    assert set(built.wrong_curated()) == set()
    assert not_accounted_for(built) == {"orders": 1}

    assert derived(built, before) == ["2017-01-02"]
    assert not_accounted_for(built) == {}
