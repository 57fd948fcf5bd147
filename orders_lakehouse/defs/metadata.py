"""How a lake table presents itself in Dagster: key, group, description, columns."""

from collections.abc import Mapping, Set
from typing import Any

import dagster as dg
import polars as pl

from orders_lakehouse.contracts.tables import Table
from orders_lakehouse.settings import settings

# The name under which Dagster shows and plots the size of a table.
ROW_COUNT = "dagster/row_count"


def key_of(table: Table) -> dg.AssetKey:
    """Asset key of a lake table: `[layer, table]`."""
    return dg.AssetKey([table.layer, table.name])


def describe(table: Table, *, kinds: Set[str]) -> Mapping[str, Any]:
    """Arguments of `@dg.asset` that follow from the table's contract."""
    return {
        "key": key_of(table),
        "group_name": table.layer,
        "description": table.model.__doc__,
        "kinds": set(kinds),
        "owners": ["team:data-platform"],
        "metadata": {
            "dagster/column_schema": column_schema(table),
            "dagster/uri": f"{settings().lake_url}/{table.path}",
        },
    }


def column_schema(table: Table) -> dg.TableSchema:
    """Columns, types and descriptions of a lake table."""
    columns = table.model.to_schema().columns
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name,
                str(dtype),
                description=columns[name].description if name in columns else None,
                constraints=dg.TableColumnConstraints(nullable=name not in columns or columns[name].nullable),
                tags={"pii": ""} if name in columns and (columns[name].metadata or {}).get("pii") else {},
            )
            for name, dtype in table.schema.items()
        ]
    )


def report_rows_by_date(context: dg.AssetExecutionContext, counts: Mapping[str, tuple[str, pl.DataFrame]]) -> None:
    """Give each date of the run its own counts, where a result alone would say the run's total for every date.

    Args:
        context: The running asset's.
        counts: Metadata name to a date column and the rows to count by it.
    """
    by_date = {
        name: dict(rows.group_by(pl.col(column).cast(pl.String)).len().iter_rows())
        for name, (column, rows) in counts.items()
    }
    for key in context.partition_keys:
        context.add_asset_metadata({name: of.get(key, 0) for name, of in by_date.items()}, partition_key=key)


def table_of(rows: pl.DataFrame) -> dg.MetadataValue:
    """Rows as a table in the UI."""
    columns = [dg.TableColumn(name, str(dtype)) for name, dtype in rows.schema.items()]
    records = [dg.TableRecord({key: str(value) for key, value in row.items()}) for row in rows.to_dicts()]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))
