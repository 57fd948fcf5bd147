"""Which columns the columns of a table are made of. Columns keep their names on the way; the others are named here."""

from collections.abc import Mapping
from dataclasses import dataclass

from orders_lakehouse.contracts.tables import (
    CUSTOMER_PROFILE,
    CUSTOMERS,
    DAILY_SALES,
    KEY_DATES,
    ORDER_ITEMS,
    ORDER_LINES,
    ORDERS,
    PAYMENTS,
    PRODUCTS,
    QUARANTINE_OF,
    RAW_CUSTOMERS,
    RAW_ORDER_ITEMS,
    RAW_ORDERS,
    RAW_PAYMENTS,
    RAW_PRODUCTS,
    Table,
)


@dataclass(frozen=True)
class Origin:
    """A column of a table upstream."""

    table: Table
    column: str


# What each table is derived from. Of several that have a column of a name, it comes from the first.
UPSTREAM: Mapping[Table, tuple[Table, ...]] = {
    CUSTOMERS: (RAW_CUSTOMERS,),
    PRODUCTS: (RAW_PRODUCTS,),
    ORDERS: (RAW_ORDERS,),
    ORDER_ITEMS: (RAW_ORDER_ITEMS, ORDERS),
    PAYMENTS: (RAW_PAYMENTS, ORDERS),
    ORDER_LINES: (ORDER_ITEMS, ORDERS, CUSTOMERS, PRODUCTS),
    DAILY_SALES: (ORDER_LINES,),
    CUSTOMER_PROFILE: (ORDER_LINES,),
    KEY_DATES: (RAW_ORDERS, RAW_ORDER_ITEMS, RAW_PAYMENTS),
    QUARANTINE_OF["customers"]: (RAW_CUSTOMERS,),
    QUARANTINE_OF["products"]: (RAW_PRODUCTS,),
    QUARANTINE_OF["orders"]: (RAW_ORDERS,),
    QUARANTINE_OF["order_items"]: (RAW_ORDER_ITEMS, ORDERS),
    QUARANTINE_OF["payments"]: (RAW_PAYMENTS, ORDERS),
}


# Counts of rows, and verdicts on them: they come from no column.
MADE_HERE: tuple[Origin, ...] = ()


def _of(table: Table, *columns: str) -> tuple[Origin, ...]:
    return tuple(Origin(table, column) for column in columns)


_JUDGED = dict.fromkeys(("versions", "candidates", "warnings"), MADE_HERE)


def _child(source: Table) -> dict[str, tuple[Origin, ...]]:
    return {
        "order_currency": _of(ORDERS, "currency"),
        "order_date": (*_of(ORDERS, "order_date"), *_of(source, "captured_on")),
        "order_state": _of(ORDERS, "order_id", "is_deleted"),
        "is_deleted": (*_of(source, "deleted_at"), *_of(ORDERS, "is_deleted")),
        **_JUDGED,
    }


_VERDICT = dict.fromkeys(("reasons", "contract_version", "versions"), MADE_HERE)


def _rejected_child(source: Table) -> dict[str, tuple[Origin, ...]]:
    return {"order_date": _child(source)["order_date"], **_VERDICT}


# Columns that are computed, or have another name upstream.
COMPUTED: Mapping[Table, Mapping[str, tuple[Origin, ...]]] = {
    CUSTOMERS: {
        "registration_date": _of(RAW_CUSTOMERS, "registered_at"),
        "is_deleted": _of(RAW_CUSTOMERS, "deleted_at"),
        **_JUDGED,
    },
    PRODUCTS: {"is_deleted": _of(RAW_PRODUCTS, "deleted_at"), **_JUDGED},
    ORDERS: {
        "business_date": _of(RAW_ORDERS, "ordered_at"),
        "order_date": _of(RAW_ORDERS, "ordered_at", "captured_on"),
        "is_deleted": _of(RAW_ORDERS, "deleted_at"),
        **_JUDGED,
    },
    ORDER_ITEMS: {
        **_child(RAW_ORDER_ITEMS),
        "total_price": (*_of(RAW_ORDER_ITEMS, "quantity", "unit_price", "discount"), *_of(ORDERS, "currency")),
    },
    PAYMENTS: _child(RAW_PAYMENTS),
    ORDER_LINES: {
        "order_status": _of(ORDERS, "status"),
        "customer_name": _of(CUSTOMERS, "full_name"),
        "customer_city": _of(CUSTOMERS, "city"),
        "customer_country_code": _of(CUSTOMERS, "country_code"),
    },
    DAILY_SALES: {
        "orders": _of(ORDER_LINES, "order_id"),
        "lines": MADE_HERE,
        "units": _of(ORDER_LINES, "quantity"),
        "gross": _of(ORDER_LINES, "total_price"),
        "net": _of(ORDER_LINES, "total_price", "order_status"),
    },
    # Cancelled and returned orders do not count.
    CUSTOMER_PROFILE: {
        "orders": _of(ORDER_LINES, "order_id", "order_status"),
        "units": _of(ORDER_LINES, "quantity", "order_status"),
        "spend": _of(ORDER_LINES, "total_price", "order_status"),
        "first_order_on": _of(ORDER_LINES, "order_date", "order_status"),
        "last_order_on": _of(ORDER_LINES, "order_date", "order_status"),
        "recency_days": _of(ORDER_LINES, "order_date", "order_status"),
        "segment": _of(ORDER_LINES, "order_date", "order_id", "order_status"),
    },
    KEY_DATES: {
        "table_name": MADE_HERE,
        "key": (
            *_of(RAW_ORDERS, "order_id"),
            *_of(RAW_ORDER_ITEMS, "order_id"),
            *_of(RAW_PAYMENTS, "payment_id"),
        ),
        **{
            column: tuple(Origin(table, column) for table in (RAW_ORDERS, RAW_ORDER_ITEMS, RAW_PAYMENTS))
            for column in ("order_id", "captured_on")
        },
        "order_date": _of(RAW_ORDERS, "ordered_at", "captured_on"),
    },
    QUARANTINE_OF["customers"]: _VERDICT,
    QUARANTINE_OF["products"]: _VERDICT,
    QUARANTINE_OF["orders"]: {"order_date": _of(RAW_ORDERS, "ordered_at", "captured_on"), **_VERDICT},
    QUARANTINE_OF["order_items"]: _rejected_child(RAW_ORDER_ITEMS),
    QUARANTINE_OF["payments"]: _rejected_child(RAW_PAYMENTS),
}


def origins(table: Table) -> dict[str, tuple[Origin, ...]]:
    """Where each column of a table comes from; a column without an origin is missing.

    Args:
        table: A table that is derived from others of the lake.

    Returns:
        Column name to the columns upstream that it is made of; none for what is made here.
    """
    same_name = {
        column: (Origin(source, column),)
        for source in reversed(UPSTREAM.get(table, ()))
        for column in table.columns
        if column in source.columns
    }
    found = {**same_name, **COMPUTED.get(table, {})}
    return {column: found[column] for column in table.columns if column in found}
