"""The expected content of the marts, from `oracle.sql`, and its comparison with the actual one."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from orders_lakehouse.runtime import adbc_pool

Row = tuple[Any, ...]
Rows = Callable[[str], list[Row]]

_SQL = "".join(Path(__file__).with_name(f"oracle{part}.sql").read_text() for part in ("", "_shipments", "_marts"))

# Queries for the marts, with the columns of the oracle's views of the same name.
MARTS: Mapping[str, str] = {
    "fct_order_lines": """
        SELECT
            f.order_id, f.line_number::text, f.date_id::text, f.customer_id, f.product_id, f.quantity::text,
            f.unit_price::text, f.discount::text, f.total_price::text, f.currency, f.order_status, f.ordered_at::text,
            CASE WHEN c.customer_id IS NOT NULL THEN c.customer_name END, c.address, c.city, c.country_code,
            p.product_name, p.category, p.manufacturer, p.unit_price::text
        FROM marts.fct_order_lines AS f
        LEFT JOIN marts.dim_customers AS c USING (customer_key)
        LEFT JOIN marts.dim_products AS p USING (product_key)
    """,
    "fct_orders": """
        SELECT
            f.order_id, f.date_id::text, c.customer_id, CASE WHEN c.customer_id IS NOT NULL THEN c.customer_name END,
            c.address, m.method, f.lines::text, f.units::text, f.total_price::text, f.paid_amount::text,
            f.payments_in_other_currencies::text, f.currency, f.status,
            f.ordered_at::text, f.shipped_at::text, f.delivered_at::text, f.hours_to_ship::text,
            f.hours_to_deliver::text, f.shipments::text, f.units_shipped::text, f.fulfilment_state,
            f.last_shipped_at::text, f.hours_to_last_shipment::text, f.order_shipped_at::text,
            f.order_delivered_at::text
        FROM marts.fct_orders AS f
        LEFT JOIN marts.dim_customers AS c USING (customer_key)
        LEFT JOIN marts.dim_payment_methods AS m USING (payment_method_key)
    """,
    "per_date": """
        SELECT
            date_id::text, coalesce(lines, 0)::text, orders::text, coalesce(units, 0)::numeric(38, 6)::text,
            coalesce(total_price, 0)::numeric(38, 4)::text, paid_amount::text
        FROM (
            SELECT date_id, count(*) AS orders, sum(paid_amount) AS paid_amount FROM marts.fct_orders GROUP BY date_id
        ) AS orders
        FULL JOIN (
            SELECT date_id, count(*) AS lines, sum(quantity) AS units, sum(total_price) AS total_price
            FROM marts.fct_order_lines GROUP BY date_id
        ) AS lines USING (date_id)
    """,
    "dim_customers": """
        SELECT
            customer_id, customer_name, customer_email, date_of_birth::text, registration_date::text, address, city,
            state, postal_code, country_code, is_deleted::text, valid_from::text, valid_to::text, is_current::text
        FROM marts.dim_customers WHERE NOT is_inferred AND customer_id IS NOT NULL
    """,
    "dim_products": """
        SELECT
            product_id, product_name, category, manufacturer, unit_price::text, currency, is_deleted::text,
            valid_from::text, valid_to::text, is_current::text
        FROM marts.dim_products WHERE NOT is_inferred AND product_id IS NOT NULL
    """,
    "dim_warehouses": """
        SELECT
            warehouse_code, warehouse_name, city, country_code, is_deleted::text, valid_from::text, valid_to::text,
            is_current::text
        FROM marts.dim_warehouses WHERE NOT is_inferred AND warehouse_code IS NOT NULL
    """,
    "fct_shipments": """
        SELECT
            f.shipment_id, f.order_id, f.date_id::text, CASE WHEN c.customer_id IS NOT NULL THEN c.customer_name END,
            w.warehouse_code, CASE WHEN w.warehouse_code IS NOT NULL THEN w.warehouse_name END, f.lines::text,
            f.units::text, f.cost::text, f.currency, f.carrier, f.service, f.tracking_number, f.status,
            f.shipped_at::text, f.delivered_at::text, f.hours_to_ship::text, f.hours_in_transit::text
        FROM marts.fct_shipments AS f
        LEFT JOIN marts.dim_customers AS c USING (customer_key)
        LEFT JOIN marts.dim_warehouses AS w USING (warehouse_key)
    """,
    "fct_shipment_lines": """
        SELECT
            f.shipment_id, f.order_id, f.line_number::text, f.date_id::text, p.product_id,
            CASE WHEN p.product_id IS NOT NULL THEN p.product_name END, w.warehouse_code,
            CASE WHEN w.warehouse_code IS NOT NULL THEN w.warehouse_name END, f.quantity::text, f.carrier,
            f.shipment_status, f.shipped_at::text, f.delivered_at::text
        FROM marts.fct_shipment_lines AS f
        LEFT JOIN marts.dim_products AS p USING (product_key)
        LEFT JOIN marts.dim_warehouses AS w USING (warehouse_key)
    """,
}

# Columns of the curated tables that the oracle knows; its view of order_lines is fct_order_lines.
CURATED_COLUMNS: Mapping[str, list[str]] = {
    "order_lines": [
        *("order_id", "line_number", "customer_id", "product_id", "quantity", "unit_price", "discount", "total_price"),
        *("currency", "customer_name", "product_name", "category", "manufacturer"),
    ],
    "daily_sales": ["order_date", "currency", "orders", "lines", "units", "gross", "net"],
    "customer_profile": [
        *("customer_id", "currency", "orders", "units", "spend", "first_order_on", "last_order_on", "recency_days"),
    ],
}


@dataclass(frozen=True)
class Differences:
    """Rows that only one side has.

    Attributes:
        missing: Rows that ought to be there.
        unexpected: Rows that ought not.
    """

    missing: list[Row]
    unexpected: list[Row]


@dataclass(frozen=True)
class Oracle:
    """The oracle, in the database of the shop.

    Attributes:
        url: Database of the shop.
    """

    url: str

    def install(self, timezone: str = "UTC", start_date: str = "2017-01-01") -> None:
        """Create the schema `oracle`; the schema `shop` must exist."""
        self._execute(_SQL)
        self._execute(f"UPDATE oracle.setting SET timezone = '{timezone}', start_date = '{start_date}'")

    def look(self) -> None:
        """Record the current versions of customers and products in the shop."""
        with adbc_pool.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT oracle.look(), oracle.look_at_warehouses()")
            cursor.fetchall()
            connection.commit()

    def reconcile(self) -> None:
        """Record which customers and products are gone now."""
        with adbc_pool.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT oracle.reconcile(), oracle.look_at_warehouses(), oracle.reconcile_warehouses()")
            cursor.fetchall()
            connection.commit()

    def know(self, versions: Mapping[str, pl.DataFrame]) -> None:
        """Record these versions and no others, for a shop whose versions could not be recorded one by one.

        Args:
            versions: Of customers and products, the columns of the shop's tables, in the order in which they were seen.
        """
        script = []
        for table, rows in versions.items():
            listed = rows.write_json().replace("'", "''")
            script.append(f"TRUNCATE oracle.seen_{table}")
            script.append(
                f"INSERT INTO oracle.seen_{table} SELECT number, version.* "
                f"FROM jsonb_array_elements('{listed}') WITH ORDINALITY AS listed (said, number) "
                f"CROSS JOIN LATERAL jsonb_populate_record(NULL::shop.{table}, said) AS version"
            )
        self._execute("; ".join(script))

    def rows(self, view: str, columns: str = "*") -> list[Row]:
        """Return the rows of one of the oracle's views."""
        with adbc_pool.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'UTC'")
            # Of conditions on computed values the planner knows nothing: it takes them for rare, and would look for
            # each line of a large shop among all orders.
            cursor.execute("SET enable_nestloop = off")
            cursor.execute(f"SELECT {columns} FROM oracle.{view}")
            return list(cursor.fetchall())

    def differences(self, warehouse_rows: Rows) -> dict[str, Differences]:
        """Return the marts that differ from the oracle, with the different rows."""
        found = {mart: compare(self.rows(mart), warehouse_rows(query)) for mart, query in MARTS.items()}
        return {mart: differing for mart, differing in found.items() if differing is not None}

    def _execute(self, script: str) -> None:
        with adbc_pool.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.executescript(script)
            connection.commit()


def compare(expected: list[Row], found: list[Row]) -> Differences | None:
    """Compare rows in any order; return None if they are equal."""
    there, ought = Counter(found), Counter(expected)
    missing, unexpected = ought - there, there - ought
    if not missing and not unexpected:
        return None
    return Differences(sorted(missing.elements(), key=str), sorted(unexpected.elements(), key=str))
