"""Changes in the measured shop."""

from datetime import date, timedelta

from adbc_driver_postgresql import dbapi

# Age of orders that no longer change, and whose rows are all captured.
_SETTLED = timedelta(days=28)
_LINES = 20
# The change takes the last clock of the date's lines, so that it is captured on the same date.
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
    """Return a date of a range whose orders no longer change by themselves, if the range is long enough."""
    return max(first, last - _SETTLED)


def change_lines(url: str, day: date, timezone: str) -> None:
    """Increase the quantity of twenty order lines of a date by one, with a clock on the same date.

    Args:
        url: Database of the shop.
        day: The date.
        timezone: Time zone of the date.
    """
    execute(url, _CHANGE.format(day=day, lines=_LINES, timezone=timezone))


def execute(url: str, *statements: str) -> None:
    """Run statements, and commit after each."""
    with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
