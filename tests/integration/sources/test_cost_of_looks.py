"""What a look at an idle shop costs: what has changed, or it is spaced out by what it reads without an index."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.findings import WARNING
from orders_lakehouse.sources.base import Clocks
from orders_lakehouse.sources.postgres.changes import changed_dates
from orders_lakehouse.sources.postgres.health import examine_shop
from tests.support.lakehouse import Lakehouse
from tests.support.rows import on

pytestmark = pytest.mark.slow

ORDERS = """
INSERT INTO shop.orders (order_id, ordered_at, status, currency, updated_at)
  SELECT 'o' || n, t, 'paid', 'EUR', t
  FROM generate_series(1, 40000) AS n, LATERAL (SELECT timestamptz '2017-01-01' + n * interval '1 minute' AS t);
ANALYZE shop.orders;
"""
# The clock is text in this shop, and what the view makes of it is in no index.
VIEW = """
DROP SCHEMA oracle CASCADE; CREATE SCHEMA erp; ALTER TABLE shop.orders SET SCHEMA erp;
ALTER TABLE erp.orders ALTER updated_at TYPE text;
CREATE VIEW shop.orders AS SELECT order_id, customer_id, ordered_at, status, currency, shipped_at, delivered_at,
  updated_at::timestamptz AS updated_at, deleted_at FROM erp.orders;
"""
CALENDAR = Calendar(on("2017-01-01"), "UTC")
READ = "SELECT coalesce(sum(seq_tup_read), 0)::bigint FROM pg_stat_user_tables WHERE relname = 'orders'"


def _nothing(_: Table) -> Clocks:
    return {}


def _rows_read(lakehouse: Lakehouse) -> int:
    """Rows of orders that anybody has read without an index so far."""
    lakehouse.shop_rows("SELECT pg_stat_force_next_flush()")
    ((rows,),) = lakehouse.shop_rows(READ)
    return int(rows)


def _look(marks: Any) -> tuple[list[Any], dict[str, Any]]:
    dates, after = changed_dates(marks, _nothing, CALENDAR)
    return dates, dict(after)


def test_looks_without_index_are_spaced_by_what_they_read(lakehouse: Lakehouse) -> None:
    lakehouse.shop(f"{ORDERS}; {VIEW}")
    _, first = _look({})
    _, second = _look(first)
    ((now,),) = lakehouse.shop_rows("SELECT now()")
    wait = datetime.fromisoformat(second["orders"]["next look"]) - now
    # Twice 40,000 rows, of 50,000 a minute.
    assert timedelta(seconds=60) < wait <= timedelta(seconds=96)
    assert not any("next look" in second[name] for name in ("customers", "products", "order_items", "payments"))

    lakehouse.shop("UPDATE erp.orders SET status = 'shipped', updated_at = '2017-02-01 00:00+00' WHERE order_id = 'o1'")
    before = _rows_read(lakehouse)
    dates, third = _look(second)
    assert dates == []
    assert third == second
    assert _rows_read(lakehouse) == before

    (finding,) = [one for one in examine_shop().findings if one.what == "shop.orders"]
    assert finding.severity == WARNING
    assert finding.found == "40,000 rows were read to find its newest change"

    due = {**third, "orders": {**third["orders"], "next look": now.isoformat()}}
    dates, _ = _look(due)
    assert on("2017-02-01") in dates, "what changed meanwhile is found"


def test_looks_by_an_index_are_not_spaced_out(lakehouse: Lakehouse) -> None:
    lakehouse.shop(ORDERS)
    _, marks = _look({})
    before = _rows_read(lakehouse)
    for _ in range(3):
        dates, marks = _look(marks)
        assert dates == []
    assert "next look" not in marks["orders"]
    assert _rows_read(lakehouse) == before
    assert examine_shop().findings == []


def test_slow_look_is_not_repeated_at_once() -> None:
    from orders_lakehouse.sources.postgres import changes

    assert changes._wait(0, 0.9) == timedelta()
    assert changes._wait(0, 2.5) == timedelta(seconds=50)
    assert changes._wait(100, 0.01) == timedelta()
    assert changes._wait(500_000_000, 30) == timedelta(minutes=15)
