"""Measure the cost of one changed date with a short and with a long history, at equal volume by date."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from adbc_driver_postgresql import dbapi

from bench.changes import change_lines, execute, settled_date
from bench.run import Bench

# Length of a year in whole weeks, so that a date of the past falls on the weekday that it repeats.
_YEAR_DAYS = 364
# Ratio of orders to kept orders, so that the long history is as large as the sample shop.
_SHARE = 10
_THIN = (
    "DELETE FROM shop.orders WHERE hashtext(order_id) % {share} <> 0",
    *(
        f"DELETE FROM shop.{table} AS child WHERE NOT EXISTS (SELECT FROM shop.orders WHERE order_id = child.order_id)"
        for table in ("order_items", "payments")
    ),
)
_INSTANTS = {
    "orders": ("ordered_at", "shipped_at", "delivered_at", "updated_at"),
    "order_items": ("updated_at",),
    "payments": ("paid_at", "updated_at"),
}
_KEYS = {"orders": ("order_id",), "order_items": ("order_id",), "payments": ("payment_id", "order_id")}


def history(
    bench: Bench, first: date, last: date, times: int, runs: int, say: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Build a shop's history and one that is longer, change some lines of a date in each, and run that date.

    Args:
        bench: A lakehouse with the sample shop; the builds use separate lakes and warehouses.
        first: First date of the shop.
        last: Last date of the shop.
        times: Factor for the length of the longer history.
        runs: Number of changes in each.
        say: Called with a line after each run.

    Returns:
        For `short` and `long`: from, to (dates), order_lines (rows of the shop), `runs`, a list of
        `bench.measure.numbers`.
    """
    changing = settled_date(first, last)
    works: dict[str, dict[str, Any]] = {}
    lakehouses: dict[str, Bench] = {}
    for name, years in {"short": 1, "long": times}.items():
        start = first - timedelta(days=_YEAR_DAYS * (years - 1))
        lakehouse = replace(bench, shop_url=_shop(bench, f"shop_{name}", years), start=start, beside=f"_{name}")
        lakehouse.empty()
        built = lakehouse.backfill(start, last)
        say(f"  {name} history, {start} to {last}: {built['seconds']:.1f} s")
        lakehouses[name] = lakehouse
        works[name] = {"from": str(start), "to": str(last), "order_lines": _lines(lakehouse), "runs": []}
    # The builds take turns, because the speed of a machine varies.
    for number in range(1, runs + 1):
        for name, lakehouse in lakehouses.items():
            change_lines(lakehouse.shop_url, changing, bench.settings["LAKEHOUSE_TIMEZONE"])
            run = lakehouse.backfill(changing, changing)
            works[name]["runs"].append(run)
            say(f"  run {number} of {runs}, one changed date in the {name} history: {run['seconds']:.1f} s")
    return works


def _shop(bench: Bench, database: str, years: int) -> str:
    """Return a database with a tenth of the shop's orders, each of them in each of the years."""
    execute(bench.url("postgres"), f"CREATE DATABASE {database} TEMPLATE shop")
    url = bench.url(database)
    execute(url, *(statement.format(share=_SHARE) for statement in _THIN))
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        for table in _KEYS if years > 1 else ():
            cursor.execute(f"SELECT * FROM shop.{table} LIMIT 0")
            columns = [column[0] for column in cursor.description or ()]
            cursor.execute(_repeated(table, columns, years))
        connection.commit()
    execute(url, "VACUUM ANALYZE")
    return url


def _repeated(table: str, columns: list[str], years: int) -> str:
    moved = {name: f"{name} - year * interval '{_YEAR_DAYS} days'" for name in _INSTANTS[table]}
    named = {name: f"'-' || year || '-' || {name}" for name in _KEYS[table]}
    values = ", ".join({**moved, **named}.get(name, name) for name in columns)
    return (
        f"INSERT INTO shop.{table} ({', '.join(columns)}) SELECT {values} "
        f"FROM shop.{table} CROSS JOIN generate_series(1, {years - 1}) AS year"
    )


def _lines(bench: Bench) -> int:
    with dbapi.connect(bench.shop_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM shop.order_items")
        ((count,),) = cursor.fetchall()
    return int(count)
