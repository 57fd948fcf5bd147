"""Raw tables: row versions as the shop has them, with minimal typing and no rule.

Numbers of the source's `numeric` columns stay text, because text holds every value that Postgres does (NaN, any
precision); the cleansed layer reads them. `captured_on` is the partition: the date of the row's change clock.
"""

from typing import ClassVar

import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract
from orders_lakehouse.contracts.types import Instant

# How far a change clock may run ahead of the source's now(). Beyond, it tells nothing of when the row changed.
AHEAD_HOURS = 24
LINEAGE = ("captured_on", "captured_at", "run_id", "source", "change", "sequence", "namespace")

# How `change` calls a version that the comparison with the source made: a tombstone, or a row whose clock went back.
BY_RECONCILIATION = "reconcile"

# What the rows of a table that was written before these columns existed have in them.
BEFORE: dict[str, str | int] = {"change": "clock", "sequence": 0, "namespace": "shop"}

# A column that is a number in the source: 1.5 and 1.50 are the same there.
_NUMBER = {"number": True}


class Raw(Contract):
    """Columns that every raw table ends with."""

    updated_at: Instant = pa.Field(nullable=True, description="The source's change clock")
    deleted_at: Instant = pa.Field(nullable=True, description="When the source marked the row as deleted")
    captured_on: pl.Date = pa.Field(description="Date of updated_at; the capture date where the clock is out of range")
    captured_at: Instant = pa.Field(description="The source's now() when this version was read")
    run_id: pl.String = pa.Field(description="Run that read this version")
    source: pl.String = pa.Field(description="Where this version was read")
    change: pl.String = pa.Field(
        description="How this version was found: clock, snapshot, log, event, file or reconcile"
    )
    sequence: pl.Int64 = pa.Field(description="Order among versions with one clock that were captured at once")
    namespace: pl.String = pa.Field(
        description="Within which the key is one row's: the source, unless sources share it"
    )


class Customers(Raw):
    """Versions of customers."""

    class Config(Contract.Config):
        """Since version 2 with change, sequence and namespace."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}

    customer_id: pl.String = pa.Field(nullable=True, description="Key of the customer")
    full_name: pl.String = pa.Field(nullable=True, description="Name", metadata={"pii": True})
    email: pl.String = pa.Field(nullable=True, description="E-mail address", metadata={"pii": True})
    date_of_birth: pl.Date = pa.Field(nullable=True, description="Date of birth", metadata={"pii": True})
    registered_at: Instant = pa.Field(nullable=True, description="When the customer registered")
    address: pl.String = pa.Field(nullable=True, description="Street and number", metadata={"pii": True})
    city: pl.String = pa.Field(nullable=True, description="City")
    state: pl.String = pa.Field(nullable=True, description="State or province")
    postal_code: pl.String = pa.Field(nullable=True, description="Postal code", metadata={"pii": True})
    country_code: pl.String = pa.Field(nullable=True, description="Country, ISO 3166-1 alpha-2")


class Products(Raw):
    """Versions of products."""

    class Config(Contract.Config):
        """Since version 2 with change, sequence and namespace."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}

    product_id: pl.String = pa.Field(nullable=True, description="Key of the product")
    product_name: pl.String = pa.Field(nullable=True, description="Name")
    category: pl.String = pa.Field(nullable=True, description="Category")
    manufacturer: pl.String = pa.Field(nullable=True, description="Manufacturer")
    unit_price: pl.String = pa.Field(nullable=True, description="List price in currency, as text", metadata=_NUMBER)
    currency: pl.String = pa.Field(nullable=True, description="Currency, ISO 4217")


class Orders(Raw):
    """Versions of orders."""

    class Config(Contract.Config):
        """Since version 2 with change, sequence and namespace."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}

    order_id: pl.String = pa.Field(nullable=True, description="Key of the order")
    customer_id: pl.String = pa.Field(nullable=True, description="Customer; null is a guest")
    ordered_at: Instant = pa.Field(nullable=True, description="When the order was placed")
    status: pl.String = pa.Field(nullable=True, description="State of the order")
    currency: pl.String = pa.Field(nullable=True, description="Currency, ISO 4217")
    shipped_at: Instant = pa.Field(nullable=True, description="When it was shipped")
    delivered_at: Instant = pa.Field(nullable=True, description="When it was delivered")


class OrderItems(Raw):
    """Versions of order lines."""

    order_id: pl.String = pa.Field(nullable=True, description="Order of the line")
    line_number: pl.Int64 = pa.Field(nullable=True, description="Number of the line in its order")
    product_id: pl.String = pa.Field(nullable=True, description="Product sold")
    quantity: pl.String = pa.Field(nullable=True, description="How much was sold, as text", metadata=_NUMBER)
    unit_price: pl.String = pa.Field(
        nullable=True, description="Price of one unit as sold, before discount, as text", metadata=_NUMBER
    )
    discount: pl.String = pa.Field(nullable=True, description="Discount of the whole line, as text", metadata=_NUMBER)

    class Config(Contract.Config):
        """Since version 2 line_number has 64 bits, since version 3 quantity is text; change, sequence, namespace."""

        metadata: ClassVar[dict[str, str]] = {"version": "3"}


class Payments(Raw):
    """Versions of payments."""

    class Config(Contract.Config):
        """Since version 2 with change, sequence and namespace."""

        metadata: ClassVar[dict[str, str]] = {"version": "2"}

    payment_id: pl.String = pa.Field(nullable=True, description="Key of the payment")
    order_id: pl.String = pa.Field(nullable=True, description="Order that is paid")
    method: pl.String = pa.Field(nullable=True, description="Method of payment")
    amount: pl.String = pa.Field(nullable=True, description="Amount in currency, as text", metadata=_NUMBER)
    currency: pl.String = pa.Field(nullable=True, description="Currency, ISO 4217")
    status: pl.String = pa.Field(nullable=True, description="State of the payment")
    paid_at: Instant = pa.Field(nullable=True, description="When it was paid")


class KeyDates(Contract):
    """Index of raw: which capture dates hold the versions of an order's rows.

    A superset of raw: it is written before raw is, and a row without its version is harmless.
    """

    table_name: pl.String = pa.Field(description="Raw table of the version")
    key: pl.String = pa.Field(
        nullable=True, description="By which a row's history is found: order_id, for payments payment_id"
    )
    order_id: pl.String = pa.Field(nullable=True, description="Order that the version is, or names")
    captured_on: pl.Date = pa.Field(description="Partition of the raw table that holds the version")
    order_date: pl.Date = pa.Field(nullable=True, description="Date the version of an order counts at; null for others")


class SourceColumns(Contract):
    """The shape of the source: a row for each column whose type was not the one it had when it was last looked at.

    Every column has one under each version of its raw table's contract: the shape that this version was made for.
    """

    table_name: pl.String = pa.Field(description="Raw table that the column is captured for")
    column_name: pl.String = pa.Field(description="Name of the column in the source")
    source_type: pl.String = pa.Field(nullable=True, description="Type in the source; null when the column is gone")
    raw_column: pl.String = pa.Field(description="Column of the raw table that holds it")
    contract_version: pl.String = pa.Field(description="Version of the raw table's contract at that time")
    seen_at: Instant = pa.Field(description="The source's now() when it was seen so first")
    run_id: pl.String = pa.Field(description="Run that saw it")


class Calendar(Contract):
    """When each date begins in the lake's time zone, and public holidays: written once, and read by everybody.

    A year's holidays are null until the warehouse needs them.
    """

    date: pl.Date = pa.Field(description="Date in the lake's time zone, from 1900 to 2100")
    begins_at: Instant = pa.Field(
        description="Its first instant: midnight; where the clock leaves midnight out, the instant at which it does"
    )
    zone_data: pl.String = pa.Field(description="Version of the time zone data that begins_at was made of")
    is_holiday: pl.Boolean = pa.Field(nullable=True, description="Whether it is a public holiday; null: not known yet")
    holiday_name: pl.String = pa.Field(nullable=True, description="Name of the holiday; null on other days")
    holidays_country: pl.String = pa.Field(nullable=True, description="Country of the holidays, ISO 3166-1 alpha-2")
    holidays_data: pl.String = pa.Field(nullable=True, description="Version of the data that holidays were made of")


def number_columns(model: type[Contract]) -> frozenset[str]:
    """Columns that hold numbers of the source as text."""
    columns = model.to_schema().columns.items()
    return frozenset(name for name, column in columns if (column.metadata or {}).get("number"))
