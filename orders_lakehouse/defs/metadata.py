"""Describe lake tables in Dagster: key, group, description, columns, and their state after a run."""

import time
from collections.abc import Mapping, Sequence, Set
from datetime import date, timedelta
from typing import Any

import dagster as dg
import polars as pl

from orders_lakehouse.contracts.base import Contract, personal_columns
from orders_lakehouse.contracts.document import OWNERS, demands, document
from orders_lakehouse.contracts.lineage import origins
from orders_lakehouse.contracts.personal import masked
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.registry import CURATED_TABLES
from orders_lakehouse.defs.charts import BLUE, Series, as_picture, bars_by_date
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.runtime.metadata_by_date import add_metadata_by_date
from orders_lakehouse.settings import PROJECT, settings
from orders_lakehouse.tables import FACTS, RAW_OF

# Names of metadata under which Dagster shows and plots the rows of a table, and of one of its dates.
ROW_COUNT, ROWS_OF_DATE = "dagster/row_count", "dagster/partition_row_count"
# Number of days in a chart, up to the run's last date; a longer run is shown in full.
_DAYS_SHOWN = 60
SAMPLE_ROWS = 8
# Maximum rows, dates and keys listed by a check.
FEW = 10
# Demands that Dagster's column constraints express already.
_EXPRESSED_BY_CONSTRAINTS = ("present", "in no two rows")


# Tags of steps that others wait for, and of steps that none waits for.
FIRST = {"dagster/priority": "1"}
LAST = {"dagster/priority": "-1"}


def key_of(table: Table) -> dg.AssetKey:
    """Return the asset key of a lake table: `[layer, table]`."""
    return dg.AssetKey([table.layer, table.name])


def describe(table: Table, *, kinds: Set[str], deps: Sequence[dg.AssetKey] = ()) -> Mapping[str, Any]:
    """Return the arguments of `@dg.asset` that follow from the table's contract.

    Args:
        table: The table.
        kinds: Kinds that Dagster shows.
        deps: Assets upstream that are no tables of the lake.
    """
    return {
        "key": key_of(table),
        "group_name": table.layer,
        "description": table.model.__doc__,
        "kinds": set(kinds),
        "owners": OWNERS,
        "deps": [*deps, *(key_of(source) for source in table.upstream)],
        "op_tags": priority(table),
        "metadata": {
            "dagster/column_schema": column_schema(table),
            "dagster/uri": f"{settings().lake_url}/{table.path}",
            "dagster/table_name": f"{table.layer}.{table.name}",
            "dagster/code_references": _contract_source(table.model),
            **({"dagster/column_lineage": column_lineage(table)} if table.upstream else {}),
        },
    }


# Tables on the longest path from the shop to the facts; their steps run first.
_LONGEST = {
    table
    for curated, fact in FACTS
    for table in (curated.table, *fact.expected_of, *(RAW_OF[of.name] for of in fact.expected_of))
}
# Tables that no fact is made of; their steps run last, while dbt builds, because no other step can run then.
_ASIDE = {curated.table for curated in CURATED_TABLES if curated.copied is None}


def priority(table: Table) -> dict[str, str]:
    """Return tags of a step of a table, by which Dagster chooses among the steps that are ready."""
    return FIRST if table in _LONGEST else LAST if table in _ASIDE else {}


def _contract_source(model: type[Contract]) -> dg.CodeReferencesMetadataValue:
    path = PROJECT.joinpath(*model.__module__.split(".")).with_suffix(".py")
    return dg.CodeReferencesMetadataValue(
        code_references=[dg.LocalFileCodeReference(file_path=str(path), label=f"contract: {path.name}")]
    )


def column_lineage(table: Table) -> dg.TableColumnLineage:
    """Return the columns upstream that each column is made of."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(key_of(origin.table), origin.column) for origin in column_origins]
            for column, column_origins in origins(table).items()
        }
    )


def column_schema(table: Table) -> dg.TableSchema:
    """Return the columns of a lake table, with the descriptions and demands of its contract."""
    unique = {table.key[0]} if len(table.key) == 1 and table.partitioned_by != "captured_on" else set()
    return schema_of(document(table)["columns"], demands(table), unique)


def schema_of(
    columns: Mapping[str, Mapping[str, Any]], demanded: Mapping[str | None, Mapping[str, str]], unique: Set[str]
) -> dg.TableSchema:
    """Return columns in Dagster's form.

    Args:
        columns: By name: type, nullable, description, unit, personal.
        demanded: Demands by column and reason; demands on several columns are under None.
        unique: Columns in which no value occurs twice.
    """
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name,
                column["type"] or "?",
                description=column["description"],
                constraints=dg.TableColumnConstraints(
                    nullable=column["nullable"],
                    unique=name in unique,
                    other=[
                        *([f"in {column['unit']}"] if column["unit"] else []),
                        *(
                            demand
                            for demand in demanded.get(name, {}).values()
                            if demand not in _EXPRESSED_BY_CONSTRAINTS
                        ),
                    ],
                ),
                tags={"pii": ""} if column["personal"] else {},
            )
            for name, column in columns.items()
        ],
        constraints=dg.TableConstraints(other=list(demanded.get(None, {}).values())),
    )


def copied(table: Table, types: Mapping[str, str], name: str) -> dict[str, Any]:
    """Return the metadata of a copy of a lake table.

    Args:
        table: The table.
        types: Columns of the copy, and their types in the warehouse.
        name: Name of the copy in the warehouse.
    """
    columns = {column.name: column for column in column_schema(table).columns}
    return {
        "dagster/table_name": name,
        "dagster/column_schema": dg.TableSchema(
            [
                dg.TableColumn(column, type_, columns[column].description, tags=columns[column].tags)
                for column, type_ in types.items()
            ]
        ),
        "dagster/column_lineage": dg.TableColumnLineage(
            {column: [dg.TableColumnDep(key_of(table), column)] for column in types}
        ),
    }


def report_rows_by_date(
    context: dg.AssetExecutionContext, counts: Mapping[str, pl.DataFrame], asset: dg.AssetKey | None = None
) -> None:
    """Record counts for each date of the run; the run's result would show its total for every date.

    Args:
        context: Context of the running asset.
        counts: date, rows by metadata name; a missing date has none.
        asset: The asset; needed where a step makes several.
    """
    by_date = {name: {str(day): count for day, count in rows.iter_rows()} for name, rows in counts.items()}
    add_metadata_by_date(
        context, {key: {name: of.get(key, 0) for name, of in by_date.items()} for key in context.partition_keys}, asset
    )


def report_state(
    context: dg.AssetExecutionContext,
    lake: Lake,
    table: Table,
    rows: pl.DataFrame,
    began: float,
    details: Mapping[str, Any],
    panels: Sequence[Series] = (),
) -> None:
    """Record the state of a table once, at the run's last date, because the page shows only the newest.

    Args:
        context: Context of the running asset.
        lake: The lake.
        table: The table that was written.
        rows: Rows that were written, for a sample.
        began: `time.perf_counter()` when the work began.
        details: Further metadata.
        panels: Further series by date.
    """
    handle = lake.open(table)
    files = files_of(handle, table)
    first, last = (date.fromisoformat(key) for key in (context.partition_keys[0], context.partition_keys[-1]))
    by_date = {}
    if table.partitioned_by is not None:
        panels = [rows_by_date(files, f"rows of {table.path}"), *panels]
        by_date = {
            "by_date": as_picture(bars_by_date(panels, *chart_span(files, first, last)), "Bars by date"),
            "size_in_run": in_bytes(int(files.filter(pl.col("date").is_between(first, last))["bytes"].sum())),
        }
    context.add_asset_metadata(
        {
            **by_date,
            ROW_COUNT: int(files["rows"].sum()),
            "size": in_bytes(int(files["bytes"].sum())),
            **details,
            "duration": f"{time.perf_counter() - began:.1f} s",
            "delta_version": handle.version(),
            "sample": sample_of(rows, table),
        },
        partition_key=str(last),
    )


def in_bytes(size: int) -> str:
    """Return a number of bytes with a unit, to three digits."""
    scaled = float(size)
    for unit in ("B", "kB", "MB"):
        if scaled < 1000:
            return f"{scaled:.3g} {unit}"
        scaled /= 1000
    return f"{scaled:,.1f} GB"


def days_shown(first: date, last: date) -> tuple[date, date]:
    """Return the first and last date of the charts of a run."""
    return min(first, last - timedelta(days=_DAYS_SHOWN - 1)), last


def chart_span(rows: pl.DataFrame, first: date, last: date) -> tuple[date, date]:
    """Return the first and last date of a chart of a run, which begins no earlier than the rows.

    Args:
        rows: date, with one row or more for each date that has rows.
        first: First date of the run.
        last: Last date of the run.
    """
    shown, _ = days_shown(first, last)
    begins = rows["date"].min()
    return (max(shown, begins) if isinstance(begins, date) and begins <= last else first), last


def rows_by_date(files: pl.DataFrame, title: str, colour: str = BLUE) -> Series:
    """Return the rows of each date as a series, from the files of a table."""
    return Series(title, files.group_by("date").agg(value=pl.col("rows").sum()), colour)


def sample_of(rows: pl.DataFrame, table: Table) -> dg.MetadataValue:
    """Return some rows as a table, with personal values masked."""
    return table_of(masked(rows.head(SAMPLE_ROWS), personal_columns(table.model)))


def table_of(rows: pl.DataFrame) -> dg.MetadataValue:
    """Return rows as a table for the UI."""
    columns = [dg.TableColumn(name, str(dtype)) for name, dtype in rows.schema.items()]
    records = [dg.TableRecord({key: str(value) for key, value in row.items()}) for row in rows.to_dicts()]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


def few_of(rows: pl.DataFrame) -> dict[str, dg.MetadataValue]:
    """Return the first rows of a check as `sample`; nothing if there are none."""
    return {"sample": table_of(rows.head(FEW))} if rows.height else {}
