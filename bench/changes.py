"""Changes in the shop that is measured."""

from datetime import date, timedelta

from adbc_driver_postgresql import dbapi

# Orders of so long ago are settled, and all that belongs to them has been captured.
_SETTLED = timedelta(days=28)
_LINES = 20
# The clock of the change is the last one that the date's lines have: it is captured on the same date.
_CHANGE = """
    UPDATE shop.order_items SET quantity = quantity + 1, updated_at = (
        SELECT max(updated_at) + interval '1 second' FROM shop.order_items
        WHERE (updated_at AT TIME ZONE '{timezone}')::date = '{day}'
    )
    WHERE (order_id, line_number) IN (
        SELECT order_id, line_number FROM shop.order_items INNER JOIN shop.orders USING (order_id)
        WHERE quantity > 0 AND (ordered_at AT TIME ZONE '{timezone}')::date = '{day}'
        ORDER BY order_id, line_number LIMIT {lines}
    )
"""


def settled_date(first: date, last: date) -> date:
    """A date of a range whose orders do not change any more by themselves, if the range is long enough."""
    return max(first, last - _SETTLED)


def change_lines(url: str, day: date, timezone: str) -> None:
    """Let twenty lines of the orders of a date be of one piece more, as captured on that date.

    Args:
        url: Database of the shop.
        day: The date.
        timezone: In which it is cut.
    """
    execute(url, _CHANGE.format(day=day, lines=_LINES, timezone=timezone))


def execute(url: str, *statements: str) -> None:
    """Run statements, each of which commits."""
    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
