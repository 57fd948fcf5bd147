"""Customers and products: every version, typed and judged alone."""

from collections.abc import Iterable

import narwhals as nw

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.codes import COUNTRY_ALIASES, CURRENCY_ALIASES
from orders_lakehouse.contracts.tables import CUSTOMERS, PRODUCTS, Table
from orders_lakehouse.contracts.types import PRICE, Frame
from orders_lakehouse.contracts.waivers import Waiver
from orders_lakehouse.transforms import columns as c
from orders_lakehouse.transforms.split import keeping_original, split
from orders_lakehouse.transforms.versions import with_candidates


def cleanse_customers(versions: Frame, calendar: Calendar, waivers: Iterable[Waiver] = ()) -> tuple[Frame, Frame]:
    """Versions of customers, split by their contract.

    Args:
        versions: Rows of `raw/customers`.
        calendar: By which the date of registration is found.
        waivers: What is waived.

    Returns:
        Rows of `cleansed/customers` and of `quarantine/customers`.
    """
    judged = _versions(versions, CUSTOMERS).with_columns(
        *(c.trimmed(name) for name in ("full_name", "address", "city", "state", "postal_code")),
        c.lower("email"),
        c.upper("country_code"),
    )
    judged = judged.with_columns(c.without_alias("country_code", COUNTRY_ALIASES))
    dated = c.with_local_date(judged, "registration_date", "registered_at", calendar)
    return split(dated, CUSTOMERS, waivers)


def cleanse_products(versions: Frame, waivers: Iterable[Waiver] = ()) -> tuple[Frame, Frame]:
    """Versions of products, split by their contract.

    Args:
        versions: Rows of `raw/products`.
        waivers: What is waived.

    Returns:
        Rows of `cleansed/products` and of `quarantine/products`.
    """
    judged = _versions(versions, PRODUCTS).with_columns(
        *(c.trimmed(name) for name in ("product_name", "category", "manufacturer")),
        c.upper("currency"),
        c.number("unit_price", PRICE),
    )
    judged = judged.with_columns(c.without_alias("currency", CURRENCY_ALIASES))
    return split(judged, PRODUCTS, waivers)


def _versions(versions: Frame, table: Table) -> Frame:
    return keeping_original(with_candidates(versions, table.key), table).with_columns(
        is_deleted=~nw.col("deleted_at").is_null(), versions=nw.lit(1).cast(nw.Int64)
    )
