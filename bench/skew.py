"""Measure the cost of a shop in which one date has fifty times the orders of an ordinary date."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from bench.changes import execute
from bench.run import Bench, rows

TIMES = 50
_KEYS = {"orders": ("order_id",), "order_items": ("order_id",), "payments": ("payment_id", "order_id")}
_ORDERS_OF_DATE = "SELECT order_id FROM shop.orders WHERE (ordered_at AT TIME ZONE '{timezone}')::date = '{day}'"


def black_friday(first: date, last: date) -> date:
    """Return the day after the fourth Thursday of November if it lies in the dates, else their middle date."""
    for year in range(first.year, last.year + 1):
        november = date(year, 11, 1)
        thursday = november + timedelta(days=(3 - november.weekday()) % 7 + 21)
        if first <= thursday + timedelta(days=1) <= last:
            return thursday + timedelta(days=1)
    return first + (last - first) // 2


def skewed(bench: Bench, first: date, last: date, runs: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Build the shop with fifty copies of each order of one date.

    Args:
        bench: A lakehouse with the sample shop; the build uses a separate lake and warehouse.
        first: First date.
        last: Last date.
        runs: Number of builds.
        say: Called with a line after each run.

    Returns:
        date, times, order_lines (rows of the shop), order_lines_of_date, `runs`, a list of `bench.measure.numbers`.
    """
    day = black_friday(first, last)
    execute(bench.url("postgres"), "DROP DATABASE IF EXISTS shop_skewed", "CREATE DATABASE shop_skewed TEMPLATE shop")
    lakehouse = replace(bench, shop_url=bench.url("shop_skewed"), beside="_skewed")
    lines, of_date = multiply(lakehouse.shop_url, day, bench.settings["LAKEHOUSE_TIMEZONE"])
    measured = []
    for number in range(1, runs + 1):
        lakehouse.empty()
        run = lakehouse.backfill(first, last)
        measured.append(run)
        say(f"  run {number} of {runs}, {TIMES} times the orders on {day}: {run['seconds']:.1f} s")
    return {"date": str(day), "times": TIMES, "order_lines": lines, "order_lines_of_date": of_date, "runs": measured}


def multiply(url: str, day: date, timezone: str) -> tuple[int, int]:
    """Copy each order of a date fifty times in the shop, with its lines and payments.

    Args:
        url: Database of the shop.
        day: The date.
        timezone: Time zone of the date.

    Returns:
        Number of lines of the shop, and of the date.
    """
    orders = _ORDERS_OF_DATE.format(timezone=timezone, day=day)
    # Lines and payments are copied first, because they are found by orders, of which there are more afterwards.
    execute(url, *(_repeated(url, table, orders) for table in ("order_items", "payments", "orders")), "VACUUM ANALYZE")
    count = "SELECT count(*), count(*) FILTER (WHERE order_id IN ({})) FROM shop.order_items"
    ((lines, of_date),) = rows(url, count.format(orders))
    return int(lines), int(of_date)


def _repeated(url: str, table: str, orders: str) -> str:
    described = "SELECT column_name FROM information_schema.columns WHERE table_schema = 'shop' AND table_name = '{}'"
    names = [name for (name,) in rows(url, described.format(table))]
    values = ", ".join(f"{name} || '-again-' || copy" if name in _KEYS[table] else name for name in names)
    return (
        f"INSERT INTO shop.{table} ({', '.join(names)}) SELECT {values} "
        f"FROM shop.{table} CROSS JOIN generate_series(2, {TIMES}) AS copy WHERE order_id IN ({orders})"
    )
