"""Count rows of a cleansed table that have warnings: from rules that do not reject, and from outdated codes."""

from datetime import date
from typing import Any

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.base import rules_of
from orders_lakehouse.contracts.codes import CODE_LISTS, Code
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.transforms.split import SEPARATOR, key_of_row

# Keys listed for each warning and date.
_SAMPLE = 5
_SCHEMA: dict[str, pl.DataType] = {
    "date": pl.Date(),
    "warning": pl.String(),
    "rows": pl.Int64(),
    "sample": pl.List(pl.String),
}


def can_warn(table: Table) -> bool:
    """Return whether rows of a cleansed table can have warnings: a rule that does not reject, or a code list."""
    codes = any(_code_list(column) for column in table.model.to_schema().columns.values())
    return codes or _has_rules_that_warn(table)


def warnings_by_date(lake: Lake, table: Table, first: date, last: date) -> pl.DataFrame:
    """Count rows with warnings by date.

    Args:
        lake: The lake.
        table: A cleansed table.
        first: First partition.
        last: Last partition.

    Returns:
        date (partition), warning, rows, sample (the first keys in order): a row for each date and warning, sorted by
        both. Warnings are the names in `warnings`, and `<column> <code> outside of its dates` for a code that was not
        valid on the date. Tombstones do not warn.
    """
    counts = [pl.DataFrame(schema=_SCHEMA)]
    rows = lake.scan(table, between=(first, last)).filter(~nw.col("is_deleted"))
    day = nw.col(str(table.partitioned_by)).alias("date")
    if _has_rules_that_warn(table):
        warned = rows.filter(~nw.col("warnings").is_null()).select(day, "warnings", key=key_of_row(table))
        each = rows_of(warned).with_columns(warning=pl.col("warnings").str.split(SEPARATOR)).explode("warning")
        counts.append(_counted(each))
    for name, column in table.model.to_schema().columns.items():
        code_list = _code_list(column)
        if code_list is not None:
            counts.append(_outside_of_dates(rows, table, name, code_list, day))
    return pl.concat(counts).sort("date", "warning")


def _has_rules_that_warn(table: Table) -> bool:
    return any(rule.outcome != "reject" for rule in rules_of(table.model))


def _code_list(column: Any) -> str | None:
    name: str | None = (column.metadata or {}).get("codes")
    return name


def _counted(rows: pl.DataFrame) -> pl.DataFrame:
    counted = rows.group_by("date", "warning").agg(
        rows=pl.len().cast(pl.Int64), sample=pl.col("key").sort().head(_SAMPLE)
    )
    return counted.select(pl.col(name).cast(dtype) for name, dtype in _SCHEMA.items())


def _outside_of_dates(rows: Frame, table: Table, column: str, code_list: str, day: nw.Expr) -> pl.DataFrame:
    codes, _ = CODE_LISTS[code_list]
    dated = [code for code in codes.values() if code.valid_from or code.valid_to]
    # Few codes have ever been withdrawn, so few rows are inspected one by one.
    suspects = rows.filter(nw.col(column).is_in([code.code for code in dated]))
    counted = rows_of(suspects.group_by(day, nw.col(column).alias("code")).agg(rows=nw.len()))
    outside = counted.join(_dates(dated), on="code").filter(
        (pl.col("date") < pl.col("valid_from")) | (pl.col("date") > pl.col("valid_to"))
    )
    if outside.is_empty():
        return pl.DataFrame(schema=_SCHEMA)
    outdated = rows.filter(nw.col(column).is_in(outside["code"].unique().to_list()))
    named = rows_of(outdated.select(day, nw.col(column).alias("code"), key=key_of_row(table)))
    of_dates = named.join(outside.select("date", "code"), on=["date", "code"], how="semi")
    return _counted(of_dates.with_columns(warning=pl.format("{} {} outside of its dates", pl.lit(column), "code")))


def _dates(codes: list[Code]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "code": [code.code for code in codes],
            "valid_from": [code.valid_from for code in codes],
            "valid_to": [code.valid_to for code in codes],
        },
        schema={"code": pl.String(), "valid_from": pl.Date(), "valid_to": pl.Date()},
    )
