"""Compare the rows of two builds: Delta tables of two lakes, the star schema of two warehouses or in files.

Rows are compared as multisets, by their number and the sums of two hashes, so that memory does not grow with a table.
"""

from pathlib import Path

import polars as pl
from adbc_driver_postgresql import dbapi

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.entities.registry import ENTITIES
from orders_lakehouse.tables import CURATED

# Columns that describe the capture and not the row.
_OF_CAPTURE = ("captured_at", "run_id")
# Rivals make the tables that every shop has. Shipments are an addition, and so is what they tell of orders.
_REQUIRED = tuple(entity for entity in ENTITIES if not entity.is_optional)
_LAKE = (*(table for of in _REQUIRED for table in (of.raw, of.cleansed, of.quarantine)), *CURATED)
_ADDED_MARTS = frozenset({"dim_warehouses", "fct_shipments", "fct_shipment_lines"})
_ADDED_COLUMNS = {
    "fct_orders": frozenset(
        {"shipped_at", "delivered_at", "hours_to_ship", "hours_to_deliver", "shipments", "units_shipped"}
        | {"fulfilment_state", "last_shipped_at", "hours_to_last_shipment"}
    )
}
_COLUMNS = """
    SELECT table_name, column_name, data_type FROM information_schema.columns
    WHERE table_schema = 'marts' ORDER BY table_name, column_name
"""
_ROWS = "SELECT count(*), sum(hashtextextended(ROW({0})::text, 1))::text FROM marts.{1}"


def lake_differences(one: Path, other: Path) -> list[str]:
    """Describe the differences between the tables of two lakes; empty if they are equal."""
    differing = []
    for table in _LAKE:
        sums = [_sums(lake, table) for lake in (one, other)]
        if not sums[0].equals(sums[1]):
            differing.append(_difference(table.path, sums))
    return differing


def _difference(table: str, sums: list[pl.DataFrame]) -> str:
    first, second = (frame.row(0) for frame in sums)
    return f"{table}: {first} and {second} (rows, sums of their hashes)"


def _sums(lake: Path, table: Table) -> pl.DataFrame:
    columns = [name for name in table.columns if name not in _OF_CAPTURE]
    return _summed(pl.scan_delta(str(lake / table.path)).select(columns))


def _summed(rows: pl.LazyFrame) -> pl.DataFrame:
    row = pl.struct(pl.all())
    return rows.select(pl.len(), hash_1=row.hash(1).sum(), hash_2=row.hash(2).sum()).collect(engine="streaming")


def warehouse_differences(first: str, second: str) -> list[str]:
    """Describe the differences between the star schemas of two warehouses; empty if they are equal."""
    sums = [_of_marts(url) for url in (first, second)]
    names = sorted({*sums[0], *sums[1]})
    return [
        f"marts.{name}: {sums[0].get(name)} and {sums[1].get(name)} (columns, rows, sum of their hashes)"
        for name in names
        if sums[0].get(name) != sums[1].get(name)
    ]


def _of_marts(url: str) -> dict[str, tuple[str, int, str]]:
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
        cursor.execute(_COLUMNS)
        marts: dict[str, dict[str, str]] = {}
        for table, column, kind in cursor.fetchall():
            if table not in _ADDED_MARTS and column not in _ADDED_COLUMNS.get(table, ()):
                marts.setdefault(table, {})[column] = kind
        sums = {}
        for table, columns in marts.items():
            cursor.execute(_ROWS.format(", ".join(columns), table))
            ((count, total),) = cursor.fetchall()
            sums[table] = (", ".join(f"{column} {kind}" for column, kind in columns.items()), count, total)
        return sums


def file_differences(warehouse: str, folder: Path) -> list[str]:
    """Describe the differences between the star schema of a warehouse and Parquet files, one for each mart."""
    differing = []
    with dbapi.connect(warehouse) as connection, connection.cursor() as cursor:
        for file in sorted(folder.glob("*.parquet")):
            stored = pl.scan_parquet(file)
            schema = stored.collect_schema()
            columns = [f"{name}::text" if dtype.is_decimal() else name for name, dtype in schema.items()]
            cursor.execute(f"SELECT {', '.join(columns)} FROM marts.{file.stem}")
            ours = pl.DataFrame(cursor.fetch_arrow_table()).cast(schema).lazy()
            sums = [_summed(rows) for rows in (ours, stored)]
            if not sums[0].equals(sums[1]):
                differing.append(
                    f"{file.stem}: {sums[0].rows()[0]} and {sums[1].rows()[0]} (rows, sums of their hashes)"
                )
    return differing
