"""Asset checks, made by factories from the contracts and the accounts. All of them block.

A check looks at the run's dates, in the stored tables, and names each date that fails.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

import dagster as dg
import pandera.errors
import polars as pl

from orders_lakehouse.calendar import configured_calendar
from orders_lakehouse.contracts.tables import CLEANSED, CURATED, ORDER_ITEMS, ORDER_LINES, Table
from orders_lakehouse.defs.metadata import key_of
from orders_lakehouse.defs.resources import failures
from orders_lakehouse.lake import accounts
from orders_lakehouse.lake.delta import Lake, collect
from orders_lakehouse.partitions import run_dates
from orders_lakehouse.postgres import connect

_SAMPLE = 10


def _contract(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=key_of(table),
        name=f"{table.name}_contract",
        description=f"Every row of {table.path} holds the contract {table.model.__name__}.",
        blocking=True,
    )
    def contract(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
        dates = run_dates(context) if table.partitioned_by else None
        with failures(context):
            (rows,) = collect(lake.scan(table, between=dates))
        broken = broken_rules(table, rows)
        metadata: dict[str, Any] = {
            "rows": rows.height,
            "expected": "no row breaks a rule",
            **_failed_dates(broken["date"]),
        }
        if broken.height:
            by_rule = broken.group_by("rule").len().sort("rule")
            metadata["broken_rules"] = dg.MetadataValue.json(dict(by_rule.iter_rows()))
            metadata["sample"] = _table(broken.head(_SAMPLE))
        return dg.AssetCheckResult(passed=broken.is_empty(), metadata=metadata)

    return contract


def broken_rules(table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    """Validate stored rows by their Pandera model.

    Args:
        table: Table of the rows.
        rows: Its columns.

    Returns:
        date (partition; null without one), row (key, as text), rule, value (as text): one row for each rule that a row
        breaks, and one without a row for each column that is missing or of another type.
    """
    judged = rows.filter(~pl.col("is_deleted")) if "is_deleted" in rows.columns else rows
    partition = table.partitioned_by
    schema = {"date": pl.Date, "row": pl.String, "rule": pl.String, "value": pl.String}
    try:
        table.model.validate(judged, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        cases: pl.DataFrame = errors.failure_cases
    else:
        return pl.DataFrame(schema=schema)
    keys = judged.select(
        date=pl.col(partition) if partition else pl.lit(None, pl.Date),
        row=pl.concat_str(pl.col(table.key).cast(pl.String), separator=" / ", ignore_nulls=True),
    ).with_row_index("index")
    return (
        cases.with_columns(pl.col("index").cast(pl.UInt32))
        .join(keys, on="index", how="left")
        .select(
            "date",
            "row",
            rule=pl.concat_str(pl.col("column"), pl.col("check"), separator=": ", ignore_nulls=True),
            value=pl.col("failure_case").cast(pl.String),
        )
    )


def _no_row_lost(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=key_of(table),
        name="no_row_lost",
        description="Captured versions = current + superseded + deleted + quarantined, by date; and in total, when the "
        "run covers every date that raw knows of.",
        blocking=True,
    )
    def no_row_lost(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
        first, last = run_dates(context)
        with failures(context):
            by_date = accounts.balance(lake, table, first, last, configured_calendar())
            total = accounts.accounts(lake, table)
            complete = accounts.covers_everything(lake, table, first, last)
        lost = by_date.filter(pl.col("captured") != pl.col("accounted"))
        return dg.AssetCheckResult(
            passed=lost.is_empty() and not (complete and total.missing),
            metadata={
                "expected (captured)": int(by_date["captured"].sum()),
                "found (accounted)": int(by_date["accounted"].sum()),
                "all dates": dg.MetadataValue.json(
                    {
                        "captured": total.captured,
                        "current": total.current,
                        "superseded": total.superseded,
                        "deleted": total.deleted,
                        "quarantined": total.quarantined,
                        "not yet derived": total.missing,
                    }
                ),
                **_failed_dates(lost["date"]),
                **({"sample": _table(lost.head(_SAMPLE))} if lost.height else {}),
            },
        )

    return no_row_lost


def _total_price_matches(asset: dg.AssetKey, description: str, sides: Sequence[str]) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=asset, name="total_price_matches", description=description, blocking=True)
    def total_price_matches(
        context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]
    ) -> dg.AssetCheckResult:
        dates = run_dates(context)
        with failures(context):
            expected, found = (_TOTALS[side](lake, *dates) for side in sides)
        both = expected.join(found, on="date", how="full", coalesce=True, suffix="_found").with_columns(
            pl.col("lines", "lines_found").fill_null(0), pl.col("total", "total_found").fill_null(0)
        )
        differing = both.filter(
            (pl.col("lines") != pl.col("lines_found")) | (pl.col("total") != pl.col("total_found"))
        ).sort("date")
        return dg.AssetCheckResult(
            passed=differing.is_empty(),
            metadata={
                f"expected ({sides[0]})": f"{expected['lines'].sum()} lines, {expected['total'].sum()}",
                f"found ({sides[1]})": f"{found['lines'].sum()} lines, {found['total'].sum()}",
                **_failed_dates(differing["date"]),
                **({"sample": _table(differing.head(_SAMPLE))} if differing.height else {}),
            },
        )

    return total_price_matches


def _lake_totals(lake: Lake, table: Table, first: date, last: date) -> pl.DataFrame:
    (rows,) = collect(lake.scan(table, between=(first, last)))
    standing = rows.filter(~pl.col("is_deleted")) if "is_deleted" in rows.columns else rows
    return standing.group_by(date="order_date").agg(
        lines=pl.len().cast(pl.Int64), total=pl.col("total_price").sum().cast(pl.Decimal(38, 2))
    )


def _fact_totals(lake: Lake, first: date, last: date) -> pl.DataFrame:  # noqa: ARG001 (the sides share a signature)
    query = (
        "SELECT to_date(date_id::text, 'YYYYMMDD') AS date, count(*) AS lines, sum(total_price)::text AS total "
        f"FROM marts.fct_order_lines WHERE date_id BETWEEN {first:%Y%m%d} AND {last:%Y%m%d} GROUP BY 1"
    )
    with connect("warehouse") as connection, connection.cursor() as cursor:
        cursor.execute(query)
        rows = pl.DataFrame(cursor.fetch_arrow_table())
    return rows.cast({"date": pl.Date, "lines": pl.Int64}).with_columns(pl.col("total").cast(pl.Decimal(38, 2)))


_TOTALS = {
    "cleansed": lambda lake, first, last: _lake_totals(lake, ORDER_ITEMS, first, last),
    "curated": lambda lake, first, last: _lake_totals(lake, ORDER_LINES, first, last),
    "fact": _fact_totals,
}


def _failed_dates(dates: pl.Series) -> dict[str, dg.MetadataValue]:
    failed = [str(day) for day in dates.drop_nulls().unique().sort()]
    return {"failed_dates": dg.MetadataValue.json(failed)} if failed else {}


def _table(rows: pl.DataFrame) -> dg.MetadataValue:
    columns = [dg.TableColumn(name, str(dtype)) for name, dtype in rows.schema.items()]
    records = [dg.TableRecord({key: str(value) for key, value in row.items()}) for row in rows.to_dicts()]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


contract_checks = [_contract(table) for table in (*CLEANSED, *CURATED)]
account_checks = [_no_row_lost(table) for table in CLEANSED]
total_price_checks = [
    _total_price_matches(
        key_of(ORDER_LINES),
        "Lines and total_price of each date are those of cleansed/order_items.",
        ("cleansed", "curated"),
    ),
    _total_price_matches(
        dg.AssetKey(["marts", "fct_order_lines"]),
        "Lines and total_price of each date are those of curated/order_lines.",
        ("curated", "fact"),
    ),
]
