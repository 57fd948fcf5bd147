"""Simulate the life of a shop: orders are placed, paid, shipped and corrected, customers move, prices change.

`activity.sql` has a statement for each kind of event. This module runs the statements, stretch of time by stretch.
"""

import re
import time
from collections import Counter
from collections.abc import Callable
from datetime import date, datetime, timedelta
from importlib import resources
from itertools import count
from typing import Any

import psycopg2
from psycopg2.errors import UndefinedTable

# Each stretch is one transaction: of several changes to a row within it, readers see only the last.
STRETCH = timedelta(hours=6)
_YEAR, _WEEK, _DAY = timedelta(days=364), timedelta(days=7), timedelta(days=1)
_SECTION = re.compile(r"^-- :: (.+)$", re.MULTILINE)

# Random draws depend only on a key, a purpose and the seed, and are the same on every server.
_FUNCTIONS = """
    CREATE FUNCTION pg_temp.draw(key text, purpose text) RETURNS float8 LANGUAGE sql STABLE RETURN
        ('x' || left(md5(key || '/' || purpose || '/' || current_setting('simulation.seed')), 13))::bit(52)::bigint
        / 4503599627370496.0;
    CREATE FUNCTION pg_temp.new_id(template text) RETURNS text LANGUAGE sql STABLE RETURN
        'S' || current_setting('simulation.seed') || '-' || template;
    CREATE FUNCTION pg_temp.method(order_id text) RETURNS text LANGUAGE sql STABLE RETURN
        (ARRAY['card', 'card', 'card', 'card', 'card', 'card', 'paypal', 'paypal', 'transfer', 'voucher'])[
            1 + floor(pg_temp.draw(order_id, 'method') * 10)];
    -- Some instant in the stretch.
    CREATE FUNCTION pg_temp.moment(key text) RETURNS timestamptz LANGUAGE sql STABLE RETURN
        current_setting('simulation.since')::timestamptz + pg_temp.draw(key, 'moment') * (
            current_setting('simulation.until')::timestamptz - current_setting('simulation.since')::timestamptz);
    -- The change clock of a row: it moves at every change, and is not set back by what is noted late.
    CREATE FUNCTION pg_temp.clock(due timestamptz, before timestamptz) RETURNS timestamptz LANGUAGE sql STABLE RETURN
        greatest(due, current_setting('simulation.since')::timestamptz, before + interval '1 second');
"""
_LATEST = " UNION ALL ".join(
    f"SELECT max(updated_at) AS latest FROM shop.{table}"
    for table in ("customers", "products", "orders", "order_items", "payments")
)
# Instants of the first order, and of the last one that is not in the future.
_ORDERED = """
    (SELECT min(ordered_at) FROM shop.orders), (SELECT max(ordered_at) FROM shop.orders WHERE ordered_at <= now())
"""
# Kind of what happens to a table that a shop of an earlier version lacks, and the table.
_OF_LATER_TABLES = {"shipments": "shop.shipment_items"}

_EMPTY = "found no orders in the shop, and new ones are like old ones: load the sample first (`lakehouse shop load`)"


def simulate(
    url: str, days: int, *, seed: int = 1, per_minute: float = 0, report: Callable[[date, Counter[str]], None]
) -> None:
    """Simulate some days in a shop, from its latest change on; the last of them at most until now.

    Args:
        url: Database of the shop; it has orders.
        days: How many days to simulate.
        seed: Seed of the random draws. The same seed on the same shop gives the same events.
        per_minute: Simulated days per minute; 0 for as many as possible.
        report: Called after each day with its changed rows by kind.

    Raises:
        ValueError: The shop has no orders, or the last of the days has not begun yet.
    """
    statements = _statements()
    began = time.monotonic()
    connection = psycopg2.connect(url, client_encoding="UTF8")
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'UTC'")
            try:
                cursor.execute(f"SELECT max(latest), now(), {_ORDERED} FROM ({_LATEST}) AS t")
            except UndefinedTable as error:
                raise ValueError(_EMPTY) from error
            latest, now, first, last = cursor.fetchone()
            if first is None:
                raise ValueError(_EMPTY)
            begin, end = _period(latest, last or now, days, now)
            shift = _YEAR if first <= begin - _YEAR else _WEEK
            cursor.execute("SELECT set_config('simulation.seed', %s, false)", [str(seed)])
            cursor.execute(_FUNCTIONS)
            for kind, table in _OF_LATER_TABLES.items():
                cursor.execute("SELECT to_regclass(%s) IS NULL", [table])
                if cursor.fetchone()[0]:
                    statements = [statement for statement in statements if statement[0] != kind]
        of_day: Counter[str] = Counter()
        since = begin
        for number in count(1):
            until = min(begin + number * STRETCH, end)
            of_day += _live(connection, statements, since, until, shift)
            if number % round(_DAY / STRETCH) == 0 or until == end:
                report((until - timedelta(microseconds=1)).date(), of_day)
                of_day = Counter()
            if per_minute:
                due = began + (until - begin) / _DAY / per_minute * 60
                time.sleep(max(0.0, due - time.monotonic()))
            if until == end:
                break
            since = until
    finally:
        connection.close()


def _period(latest: datetime, last_order: datetime, days: int, now: datetime) -> tuple[datetime, datetime]:
    """Return begin and end of some days after the latest change of a shop.

    If these days are not over, they begin with the last order instead, because rows may have been edited since, and
    end now.

    Raises:
        ValueError: The last day has not begun.
    """
    begin = _next_stretch(latest)
    if begin + timedelta(days=days) <= now:
        return begin, begin + timedelta(days=days)
    most = -((last_order - now) // _DAY)
    if days > most:
        raise ValueError(
            f"the shop has orders until {last_order:%Y-%m-%d %H:%M}, and {days} days after that have not begun yet: "
            f"expected at most {most}. For more, load a shop that ends earlier: `lakehouse shop load --as-of DATE`"
        )
    return last_order, min(last_order + timedelta(days=days), now)


def _live(
    connection: Any, statements: list[tuple[str, str]], since: datetime, until: datetime, shift: timedelta
) -> Counter[str]:
    """Run everything that happens in a stretch of time, in one transaction; returns the changed rows by kind."""
    changed: Counter[str] = Counter()
    with connection, connection.cursor() as cursor:
        for name, instant in (("since", since), ("until", until)):
            cursor.execute("SELECT set_config(%s, %s, false)", [f"simulation.{name}", instant.isoformat()])
        for kind, statement in statements:
            cursor.execute(statement, {"since": since, "until": until, "shift": shift})
            changed[kind] += cursor.rowcount
    return changed


def _statements() -> list[tuple[str, str]]:
    """Return kind and statement of everything that can happen, in order."""
    parts = _SECTION.split(resources.files(__package__).joinpath("activity.sql").read_text(encoding="utf-8"))
    return list(zip(parts[1::2], parts[2::2], strict=True))


def _next_stretch(instant: datetime) -> datetime:
    """Return the first start of a stretch that is not before an instant; stretches begin at midnight."""
    midnight = instant.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + -((midnight - instant) // STRETCH) * STRETCH
