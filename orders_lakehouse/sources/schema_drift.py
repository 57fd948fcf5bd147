"""Schema drift: columns of the shop that are new, missing, or of another type than the contracts expect.

All columns of the shop are captured. If a column of the contract is missing, or raw cannot hold its type,
`sources/postgres/versions.py` raises an error. This module reports all other differences.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.base import contract_version, declared_at
from orders_lakehouse.contracts.raw import LINEAGE
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.sources.base import Shape
from orders_lakehouse.sources.postgres.versions import raw_type
from orders_lakehouse.tables import SOURCE_COLUMNS


@dataclass(frozen=True)
class Drift:
    """A column of the shop that differs from the contract of its raw table.

    Attributes:
        column: Its name in the shop.
        found: Its type there, or "gone".
        expected: The type that the contract expects, or "no such column".
        since: Instant at which the difference was first seen, by the shop's clock.
        to_do: How it is captured, and the next step.
    """

    column: str
    found: str
    expected: str
    since: datetime
    to_do: str


def record_shape(lake: Lake, table: Table, shape: Shape, extra_columns: Mapping[str, str], run_id: str) -> pl.DataFrame:
    """Record the changes in the columns of a table of the shop since the last capture.

    Args:
        lake: The lake.
        table: The raw table.
        shape: Columns of the shop's table.
        extra_columns: Column of raw for each column that the contract does not have, by its name in the shop.
        run_id: Run that captures the table.

    Returns:
        All rows of `raw/source_columns` for the table, the oldest first.
    """
    version = contract_version(table.model)
    known = rows_of(lake.scan(SOURCE_COLUMNS).filter(nw.col("table_name") == table.name)).sort("seen_at")
    last = known.filter(pl.col("contract_version") == version).unique("column_name", keep="last", maintain_order=True)
    now = pl.DataFrame(
        [(name, type_, extra_columns.get(name, name)) for name, type_ in shape.types.items()],
        schema=dict.fromkeys(("column_name", "source_type", "raw_column"), pl.String),
        orient="row",
    )
    gone = last.filter(pl.col("source_type").is_not_null()).join(now, on="column_name", how="anti")
    changed = [
        now.join(last, on=now.columns, how="anti", nulls_equal=True),
        gone.select("column_name", pl.lit(None, pl.String).alias("source_type"), "raw_column"),
    ]
    constants = {"table_name": table.name, "contract_version": version, "seen_at": shape.seen_at, "run_id": run_id}
    recorded = pl.concat(changed).select(
        pl.lit(constants[name], dtype).alias(name) if name in constants else pl.col(name)
        for name, dtype in SOURCE_COLUMNS.schema.items()
    )
    lake.append(SOURCE_COLUMNS, recorded)
    return pl.concat([known, recorded])


def drifts(table: Table, seen: pl.DataFrame) -> list[Drift]:
    """Return the differences between the shop and the contract of a raw table.

    Expected are exactly the contract's columns, with the types of the first capture under its version. So raising the
    version accepts the present types.

    Args:
        table: The raw table.
        seen: Its rows of `raw/source_columns`, the oldest first.

    Returns:
        One entry for each differing column, ordered by name.
    """
    version = contract_version(table.model)
    of_version = seen.filter(pl.col("contract_version") == version)
    drifted = []
    for (name,), rows in of_version.group_by("column_name", maintain_order=True):
        first, now, raw_column = rows["source_type"][0], rows["source_type"][-1], rows["raw_column"][-1]
        since = _since(seen.filter(pl.col("column_name") == name))
        is_extra = name not in table.schema or name in LINEAGE
        if is_extra and now is not None:
            to_do = _how_to_use(table, str(name), now, raw_column)
            drifted.append(Drift(str(name), now, "no such column", since, to_do))
        elif now is None and _existed_at_first(rows, of_version):
            drifted.append(Drift(str(name), "gone", first, since, _how_to_accept_missing(table, raw_column)))
        elif now is not None and now != first:
            drifted.append(Drift(str(name), now, first, since, _how_to_accept_type(table, str(name))))
    return sorted(drifted, key=lambda drift: drift.column)


def _existed_at_first(rows: pl.DataFrame, of_version: pl.DataFrame) -> bool:
    """Return whether a column existed at the first capture under the version of the contract."""
    return bool(rows["seen_at"][0] == of_version["seen_at"][0])


def _since(rows: pl.DataFrame) -> datetime:
    """Return the instant since which a column has had its present type."""
    type_number = rows["source_type"].rle_id()
    since: datetime = rows["seen_at"].filter(type_number == type_number[-1])[0]
    return since


def _how_to_use(table: Table, column: str, type_: str, raw_column: str) -> str:
    contract = f"{table.model.__name__} ({declared_at(table.model)})"
    if raw_column != column:
        return (
            f"captured as {raw_column}, because {table.path} cannot hold it under its own name; to use it, rename it "
            f"in a view, and add the new name to {contract}"
        )
    dtype = raw_type(type_)
    annotation = "Instant" if isinstance(dtype, pl.Datetime) else f"pl.{dtype}"
    # Without NUMBER, 1.5 and 1.50 would be two versions of a row.
    number = ", metadata=NUMBER" if re.fullmatch(r"numeric(\(.*\))?", type_) else ""
    line = f'{column}: {annotation} = pa.Field(nullable=True, description="..."{number})'
    return f"captured; to use it, add `{line}` to {contract} and raise its version"


def _how_to_accept_type(table: Table, column: str) -> str:
    return (
        f"captured, and values that do not fit the cleansed table go to quarantine; to accept it, raise the version of "
        f"{table.model.__name__} ({declared_at(table.model, column)})"
    )


def _how_to_accept_missing(table: Table, raw_column: str) -> str:
    return (
        f"{table.path} keeps its column {raw_column}, with nulls from then on; to accept it, raise the version of "
        f"{table.model.__name__} ({declared_at(table.model)})"
    )
