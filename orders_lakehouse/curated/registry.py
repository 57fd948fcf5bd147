"""Every curated table, after the tables that it is made of."""

from orders_lakehouse.curated import customer_profile, daily_sales, order_lines
from orders_lakehouse.curated.base import Curated

CURATED_TABLES: tuple[Curated, ...] = (order_lines.CURATED, daily_sales.CURATED, customer_profile.CURATED)
