"""What stands in a cleansed table with a warning: by the rules that do not reject a row, and by codes out of date."""

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

# Keys that a warning names for each date.
_SAMPLE = 5
_SCHEMA: dict[str, pl.DataType] = {
    "date": pl.Date(),
    "warning": pl.String(),
    "rows": pl.Int64(),
    "sample": pl.List(pl.String),
}


def can_warn(table: Table) -> bool:
    """Whether a row of a cleansed table can stand with a warning: some rule does not reject it, or it has a code."""
    codes = any(_code_list(column) for column in table.model.to_schema().columns.values())
    return codes or _has_rules_that_warn(table)


def warnings_by_date(lake: Lake, table: Table, first: date, last: date) -> pl.DataFrame:
    """Rows that stand and warn.

    Args:
        lake: The lake.
        table: A cleansed table.
        first: First partition.
        last: Last partition.

    Returns:
        date (partition), warning, rows, sample (keys, the first in their order): a row for each date and warning, in
        this order. Beside the names in `warnings`, a code that was not valid on the date is a warning,
        `<column> <code> outside of its dates`. Tombstones do not warn.
    """
    found = [pl.DataFrame(schema=_SCHEMA)]
    rows = lake.scan(table, between=(first, last)).filter(~nw.col("is_deleted"))
    day = nw.col(str(table.partitioned_by)).alias("date")
    if _has_rules_that_warn(table):
        warned = rows.filter(~nw.col("warnings").is_null()).select(day, "warnings", key=key_of_row(table))
        each = rows_of(warned).with_columns(warning=pl.col("warnings").str.split(SEPARATOR)).explode("warning")
        found.append(_counted(each))
    for name, column in table.model.to_schema().columns.items():
        of_list = _code_list(column)
        if of_list is not None:
            found.append(_outside_of_dates(rows, table, name, of_list, day))
    return pl.concat(found).sort("date", "warning")


def _has_rules_that_warn(table: Table) -> bool:
    return any(rule.outcome != "reject" for rule in rules_of(table.model))


def _code_list(column: Any) -> str | None:
    found: str | None = (column.metadata or {}).get("codes")
    return found


def _counted(rows: pl.DataFrame) -> pl.DataFrame:
    counted = rows.group_by("date", "warning").agg(
        rows=pl.len().cast(pl.Int64), sample=pl.col("key").sort().head(_SAMPLE)
    )
    return counted.select(pl.col(name).cast(dtype) for name, dtype in _SCHEMA.items())


def _outside_of_dates(rows: Frame, table: Table, column: str, of_list: str, day: nw.Expr) -> pl.DataFrame:
    codes, _ = CODE_LISTS[of_list]
    dated = [code for code in codes.values() if code.valid_from or code.valid_to]
    # Few codes have ever been withdrawn, so few rows are looked at one by one.
    suspects = rows.filter(nw.col(column).is_in([code.code for code in dated]))
    counted = rows_of(suspects.group_by(day, nw.col(column).alias("code")).agg(rows=nw.len()))
    outside = counted.join(_dates(dated), on="code").filter(
        (pl.col("date") < pl.col("valid_from")) | (pl.col("date") > pl.col("valid_to"))
    )
    if outside.is_empty():
        return pl.DataFrame(schema=_SCHEMA)
    some = rows.filter(nw.col(column).is_in(outside["code"].unique().to_list()))
    named = rows_of(some.select(day, nw.col(column).alias("code"), key=key_of_row(table)))
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
