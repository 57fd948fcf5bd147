"""What each derived table is made of: how its dates are derived, whoever asks and wherever it is done."""

import logging
from collections.abc import Callable, Sequence
from datetime import date
from threading import Lock

from orders_lakehouse.contracts.tables import (
    CLEANSED,
    CUSTOMER_PROFILE,
    CUSTOMERS,
    DAILY_SALES,
    ORDER_ITEMS,
    ORDER_LINES,
    ORDERS,
    PAYMENTS,
    PRODUCTS,
    QUARANTINE_OF,
    RAW_CUSTOMERS,
    RAW_OF,
    RAW_ORDER_ITEMS,
    RAW_PAYMENTS,
    RAW_PRODUCTS,
    Table,
)
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.contracts.waivers import Waiver
from orders_lakehouse.delta.batches import (
    Portion,
    in_words,
    portions_of_rows,
    portions_of_versions,
    replace_range,
)
from orders_lakehouse.delta.tables import Lake, Replaced, keep, state_of
from orders_lakehouse.pipeline.customer_profile import customer_profile
from orders_lakehouse.pipeline.key_index import Places, children_of_orders, places_of, versions_of_orders
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.pipeline.waivers import configured_waivers
from orders_lakehouse.transforms import curated
from orders_lakehouse.transforms.dimensions import cleanse_customers, cleanse_products
from orders_lakehouse.transforms.orders import cleanse_order_items, cleanse_orders, cleanse_payments

log = logging.getLogger(__name__)

# The rows of a cleansed table and of its quarantine.
Split = Sequence[Frame]
Waivers = Sequence[Waiver]


def derived_with(table: Table) -> list[Table]:
    """The tables that one derivation writes, in this order.

    Quarantine first: a crash in between leaves a row that got worse in both tables, rather than in none.
    """
    return [QUARANTINE_OF[table.name], table] if table in CLEANSED else [table]


def derive(
    lake: Lake,
    table: Table,
    dates: tuple[date, date] | None,
    run_id: str = "",
    warn: Callable[[str], None] = log.warning,
) -> list[Replaced]:
    """Derive dates of a table, and of a cleansed one its quarantine with it.

    Args:
        lake: The lake, whose engine it is done by.
        table: A cleansed or curated table.
        dates: First and last date. For a table without dates, those of the run: where they are few, it is made of what
            has changed since it was made last; None: of everything.
        run_id: Run on whose behalf it is.
        warn: Told, before it begins, of dates that need more memory than the settings allow.

    Returns:
        What became of each of `derived_with`.
    """
    if table is CUSTOMER_PROFILE:
        return [lake.replace_all(table, lambda source: customer_profile(source, dates), run_id)]
    assert dates is not None  # noqa: S101 (every other table has dates)
    first, last = dates
    targets = derived_with(table)
    if table in (ORDER_LINES, DAILY_SALES):
        source = ORDER_ITEMS if table is ORDER_LINES else ORDER_LINES
        make = _OrderLines() if table is ORDER_LINES else _daily_sales
        portions = portions_of_rows(lake, source, first, last)
        _tell_what_is_needed(lake, table, source, portions, warn)
        return replace_range(lake, targets, portions, make, run_id)
    waivers, places = configured_waivers(lake), places_of(table, first, last)
    portions = portions_of_versions(lake, table, first, last)
    _tell_what_is_needed(lake, table, RAW_OF[table.name], portions, warn)

    def cleanse(source: Lake, begin: date, end: date) -> Split:
        good, bad = _CLEANSE[table.name](source, begin, end, waivers, places)
        return bad, good

    return replace_range(lake, targets, portions, cleanse, run_id)


def _tell_what_is_needed(
    lake: Lake, table: Table, source: Table, portions: Sequence[Portion], warn: Callable[[str], None]
) -> None:
    needed = in_words(lake, table, source, portions)
    if needed is not None:
        warn(needed)


def _orders(lake: Lake, first: date, last: date, waivers: Waivers, places: Places | None) -> Split:
    versions = versions_of_orders(lake, first, last, places)
    return cleanse_orders(versions, first, last, calendar_of(lake), waivers)


def _order_items(lake: Lake, first: date, last: date, waivers: Waivers, places: Places | None) -> Split:
    lines, states = children_of_orders(lake, RAW_ORDER_ITEMS, first, last, places)
    return cleanse_order_items(lines, states, first, last, waivers)


def _payments(lake: Lake, first: date, last: date, waivers: Waivers, places: Places | None) -> Split:
    payments, states = children_of_orders(lake, RAW_PAYMENTS, first, last, places)
    return cleanse_payments(payments, states, first, last, waivers)


def _customers(lake: Lake, first: date, last: date, waivers: Waivers, _: Places | None) -> Split:
    versions = lake.scan(RAW_CUSTOMERS, between=(first, last))
    return cleanse_customers(versions, calendar_of(lake), waivers)


def _products(lake: Lake, first: date, last: date, waivers: Waivers, _: Places | None) -> Split:
    return cleanse_products(lake.scan(RAW_PRODUCTS, between=(first, last)), waivers)


# Makes the rows of a cleansed table and of its quarantine, of some dates, from a lake that stands still.
_CLEANSE: dict[str, Callable[[Lake, date, date, Waivers, Places | None], Split]] = {
    CUSTOMERS.name: _customers,
    PRODUCTS.name: _products,
    ORDERS.name: _orders,
    ORDER_ITEMS.name: _order_items,
    PAYMENTS.name: _payments,
}


class _OrderLines:
    """Makes order lines portion by portion. When customers and products are valid is found out once for all of them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: tuple[Sequence[tuple[str, int]], Sequence[Frame]] | None = None

    def __call__(self, lake: Lake, first: date, last: date) -> Sequence[Frame]:
        items, orders = (lake.scan(table, between=(first, last)) for table in (ORDER_ITEMS, ORDERS))
        return [curated.order_lines(items, orders, *self._in_time(lake))]

    def _in_time(self, lake: Lake) -> Sequence[Frame]:
        states = [state_of(lake.open(table)) for table in (CUSTOMERS, PRODUCTS)]
        with self._lock:
            if self._known is None or self._known[0] != states:
                customers = curated.customers_in_time(lake.scan(CUSTOMERS))
                products = curated.products_in_time(lake.scan(PRODUCTS))
                self._known = (states, [keep(customers), keep(products)])
            return self._known[1]


def _daily_sales(lake: Lake, first: date, last: date) -> Sequence[Frame]:
    return [curated.daily_sales(lake.scan(ORDER_LINES, between=(first, last)))]
