"""A warehouse whose copies follow a lake that tests write to."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import narwhals as nw

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.runtime import adbc_pool
from orders_lakehouse.warehouse.copies import COPIES
from orders_lakehouse.warehouse.load import Loaded, load
from tests.support.rows import on, rows

COPY = {copy.name: copy for copy in COPIES}
DAYS = [on("2020-03-01") + timedelta(days=more) for more in range(5)]


@dataclass(frozen=True)
class Warehouse:
    """A warehouse, and the lake that it is loaded from."""

    url: str
    lake: Lake

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with adbc_pool.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'UTC'")
            cursor.execute(statement)
            return list(cursor.fetchall())

    def run(self, script: str) -> None:
        with adbc_pool.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.executescript(script)
            connection.commit()

    def write(self, table: Table, first: date, last: date, *given: Mapping[str, Any]) -> None:
        frame = rows(table, *given)
        self.lake.replace_dates([table], first, last, lambda _: [nw.from_native(frame.lazy())])

    def lines(self, *days: date, quantity: int = 2) -> None:
        """Replace the rows of all days with one order line on each given day."""
        self.write(ORDER_LINES, DAYS[0], DAYS[-1], *(line(day, quantity) for day in days))

    def copied(self) -> dict[date, list[Decimal]]:
        """Return the quantities in the copy of the order lines, by date."""
        found = self.query(
            "SELECT order_date, array_to_string(array_agg(quantity ORDER BY quantity), ',') "
            "FROM lake.order_lines GROUP BY 1"
        )
        return {day: [Decimal(part) for part in parts.split(",")] for day, parts in found}

    def keys(self, name: str, key: str) -> tuple[dict[str, int], dict[str, int]]:
        """Return keys and row numbers: those listed beside a copy, and those in it."""
        listed = self.query(f"SELECT {key}, rows FROM lake.{name}_by_{key}")
        standing = self.query(f"SELECT {key}, count(*) FROM lake.{name} WHERE {key} IS NOT NULL GROUP BY 1")
        return dict(listed), dict(standing)


def line(day: date, quantity: int = 2) -> dict[str, Any]:
    return {"order_id": f"o{day}", "order_date": day, "quantity": quantity}


def load_lines(warehouse: Warehouse) -> Loaded:
    return load(warehouse.lake, COPY["order_lines"])
