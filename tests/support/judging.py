"""Rows of one entity, cleansed and split as the pipeline does it."""

from collections.abc import Iterable
from datetime import date

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.contracts.waivers import Waiver
from orders_lakehouse.entities import customers, order_items, orders, payments, products
from orders_lakehouse.entities.cleansing import cleanse
from orders_lakehouse.tables import QUARANTINE_OF, RAW_OF
from orders_lakehouse.transforms import split as splitting

Split = tuple[Frame, Frame]
# A calendar for entities whose result does not depend on it.
_UTC = Calendar(date(2020, 1, 1), "UTC")
_ANY_DATES = (date.min, date.max)


def split(judged: Frame, table: Table, waivers: Iterable[Waiver] = ()) -> Split:
    return splitting.split(judged, table, QUARANTINE_OF[table.name], waivers)


def keeping_original(rows: Frame, table: Table) -> Frame:
    return splitting.keeping_original(rows, RAW_OF[table.name])


def cleanse_customers(versions: Frame, calendar: Calendar, waivers: Iterable[Waiver] = ()) -> Split:
    return cleanse(customers.ENTITY, versions, _ANY_DATES, calendar, waivers)


def cleanse_products(versions: Frame, waivers: Iterable[Waiver] = ()) -> Split:
    return cleanse(products.ENTITY, versions, _ANY_DATES, _UTC, waivers)


def cleanse_orders(
    versions: Frame, first: date, last: date, calendar: Calendar, waivers: Iterable[Waiver] = ()
) -> Split:
    return cleanse(orders.ENTITY, versions, (first, last), calendar, waivers)


def cleanse_order_items(
    versions: Frame, states: Frame, first: date, last: date, waivers: Iterable[Waiver] = ()
) -> Split:
    return cleanse(order_items.ENTITY, versions, (first, last), _UTC, waivers, states)


def cleanse_payments(versions: Frame, states: Frame, first: date, last: date, waivers: Iterable[Waiver] = ()) -> Split:
    return cleanse(payments.ENTITY, versions, (first, last), _UTC, waivers, states)
