"""The Delta tables of the lake: layer, name, contract, key and partition column of each."""

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from orders_lakehouse.contracts import checks, cleansed, curated, raw
from orders_lakehouse.contracts.base import Contract, polars_schema


@dataclass(frozen=True)
class Table:
    """A Delta table.

    Attributes:
        layer: Layer and first folder of its path.
        name: Name within the layer.
        model: Its contract.
        key: Columns that identify a row (a row's history, in raw).
        partitioned_by: Date column that it is partitioned by, if any.
        extra: Columns beside the contract's.
        attributes: What the dimension shows of a member. Versions that are equal in these are one member, so neither
            clocks nor what tells where a version comes from is among them.
    """

    layer: str
    name: str
    model: type[Contract]
    key: tuple[str, ...]
    partitioned_by: str | None = None
    extra: tuple[tuple[str, pl.DataType | type[pl.DataType]], ...] = ()
    attributes: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Where the table lies under the lake's root; also its name in messages."""
        return f"{self.layer}/{self.name}"

    @cached_property
    def schema(self) -> pl.Schema:
        """Column names and Polars types."""
        return pl.Schema({**polars_schema(self.model), **dict(self.extra)})

    @property
    def columns(self) -> list[str]:
        """Column names in the order of the schema."""
        return self.schema.names()


def _raw(name: str, model: type[Contract], *key: str) -> Table:
    return Table("raw", name, model, key, "captured_on")


RAW_CUSTOMERS = _raw("customers", raw.Customers, "customer_id")
RAW_PRODUCTS = _raw("products", raw.Products, "product_id")
RAW_ORDERS = _raw("orders", raw.Orders, "order_id")
RAW_ORDER_ITEMS = _raw("order_items", raw.OrderItems, "order_id", "line_number")
RAW_PAYMENTS = _raw("payments", raw.Payments, "payment_id")
RAW = (RAW_CUSTOMERS, RAW_PRODUCTS, RAW_ORDERS, RAW_ORDER_ITEMS, RAW_PAYMENTS)
KEY_DATES = Table("raw", "key_dates", raw.KeyDates, ("table_name", "key", "order_id", "captured_on", "order_date"))
SOURCE_COLUMNS = Table("raw", "source_columns", raw.SourceColumns, ("table_name", "column_name", "seen_at"))
CALENDAR = Table("raw", "calendar", raw.Calendar, ("date",))

CUSTOMERS = Table(
    "cleansed",
    "customers",
    cleansed.Customers,
    ("customer_id",),
    "captured_on",
    attributes=(
        *("full_name", "email", "address", "city", "state", "postal_code", "country_code"),
        *("is_deleted", "date_of_birth", "registration_date"),
    ),
)
PRODUCTS = Table(
    "cleansed",
    "products",
    cleansed.Products,
    ("product_id",),
    "captured_on",
    attributes=("product_name", "category", "manufacturer", "currency", "unit_price", "is_deleted"),
)
ORDERS = Table("cleansed", "orders", cleansed.Orders, ("order_id",), "order_date")
ORDER_ITEMS = Table("cleansed", "order_items", cleansed.OrderItems, ("order_id", "line_number"), "order_date")
PAYMENTS = Table("cleansed", "payments", cleansed.Payments, ("payment_id",), "order_date")
CLEANSED = (CUSTOMERS, PRODUCTS, ORDERS, ORDER_ITEMS, PAYMENTS)
# Of these the warehouse makes dimensions with members; facts do without their rows.
DIMENSIONS = (CUSTOMERS, PRODUCTS)

# What a quarantine row has beside the original row: when it counts, why it was rejected, by which contract.
_VERDICT = (("reasons", pl.String), ("contract_version", pl.String), ("versions", pl.Int64))


def _quarantine(source: Table, judged: Table) -> Table:
    date_column = () if judged.partitioned_by == source.partitioned_by else (("order_date", pl.Date),)
    return Table("quarantine", source.name, source.model, source.key, judged.partitioned_by, (*date_column, *_VERDICT))


QUARANTINE = tuple(_quarantine(source, judged) for source, judged in zip(RAW, CLEANSED, strict=True))
QUARANTINE_OF = {judged.name: quarantined for judged, quarantined in zip(CLEANSED, QUARANTINE, strict=True)}
RAW_OF = {table.name: table for table in RAW}

ORDER_LINES = Table("curated", "order_lines", curated.OrderLines, ("order_id", "line_number"), "order_date")
DAILY_SALES = Table("curated", "daily_sales", curated.DailySales, ("order_date", "currency"), "order_date")
CUSTOMER_PROFILE = Table("curated", "customer_profile", curated.CustomerProfile, ("customer_id", "currency"))
CURATED = (ORDER_LINES, DAILY_SALES, CUSTOMER_PROFILE)

CHECK_RESULTS = Table("checks", "results", checks.CheckResults, ("asset", "check_name", "date"))

TABLES = (*RAW, KEY_DATES, SOURCE_COLUMNS, CALENDAR, *CLEANSED, *QUARANTINE, *CURATED, CHECK_RESULTS)
