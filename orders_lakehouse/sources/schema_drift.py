"""The shape of the shop beside what the contracts expect: columns that came or went, types that are others.

Whatever the shop has is captured. A column of the contract that is gone, or that raw cannot hold any more, is an error
where it is read (`sources/postgres/versions.py`). Whatever else is not as expected is worth knowing, and stands here.
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
    """A column of the shop that is not as the contract of its raw table expects.

    Attributes:
        column: Its name in the shop.
        found: Its type there, or that it is gone.
        expected: What the contract expects.
        since: When it was first seen to be so, by the shop's clock.
        to_do: What became of it, and what to do.
    """

    column: str
    found: str
    expected: str
    since: datetime
    to_do: str


def record_shape(lake: Lake, table: Table, shape: Shape, beside: Mapping[str, str], run_id: str) -> pl.DataFrame:
    """Note what has changed in the shape of a table of the shop since it was last looked at.

    Args:
        lake: The lake.
        table: The raw table.
        shape: Columns of the shop's table.
        beside: Column of raw that holds each of them that the contract does not have, by its name in the shop.
        run_id: Run that looks.

    Returns:
        All rows of `raw/source_columns` of the table, the oldest first.
    """
    version = contract_version(table.model)
    known = rows_of(lake.scan(SOURCE_COLUMNS).filter(nw.col("table_name") == table.name)).sort("seen_at")
    last = known.filter(pl.col("contract_version") == version).unique("column_name", keep="last", maintain_order=True)
    now = pl.DataFrame(
        [(name, type_, beside.get(name, name)) for name, type_ in shape.types.items()],
        schema=dict.fromkeys(("column_name", "source_type", "raw_column"), pl.String),
        orient="row",
    )
    gone = last.filter(pl.col("source_type").is_not_null()).join(now, on="column_name", how="anti")
    changed = [
        now.join(last, on=now.columns, how="anti", nulls_equal=True),
        gone.select("column_name", pl.lit(None, pl.String).alias("source_type"), "raw_column"),
    ]
    told = {"table_name": table.name, "contract_version": version, "seen_at": shape.seen_at, "run_id": run_id}
    noted = pl.concat(changed).select(
        pl.lit(told[name], dtype).alias(name) if name in told else pl.col(name)
        for name, dtype in SOURCE_COLUMNS.schema.items()
    )
    lake.append(SOURCE_COLUMNS, noted)
    return pl.concat([known, noted])


def drifts(table: Table, seen: pl.DataFrame) -> list[Drift]:
    """What is not as the contract of a raw table expects.

    It expects its columns and no others, in the types that they had when its version was captured first: to raise the
    version accepts the types as they are.

    Args:
        table: The raw table.
        seen: Its rows of `raw/source_columns`, the oldest first.

    Returns:
        One entry for each column, in the order of their names.
    """
    version = contract_version(table.model)
    of_version = seen.filter(pl.col("contract_version") == version)
    found = []
    for (name,), rows in of_version.group_by("column_name", maintain_order=True):
        first, now, raw_column = rows["source_type"][0], rows["source_type"][-1], rows["raw_column"][-1]
        since = _since(seen.filter(pl.col("column_name") == name))
        beside = name not in table.schema or name in LINEAGE
        if beside and now is not None:
            to_do = _to_use(table, str(name), now, raw_column)
            found.append(Drift(str(name), now, "no such column", since, to_do))
        elif now is None and _at_first(rows, of_version):
            found.append(Drift(str(name), "gone", first, since, _to_accept_that_it_is_gone(table, raw_column)))
        elif now is not None and now != first:
            found.append(Drift(str(name), now, first, since, _to_accept(table, str(name))))
    return sorted(found, key=lambda drift: drift.column)


def _at_first(rows: pl.DataFrame, of_version: pl.DataFrame) -> bool:
    """Whether a column was there when the version of the contract was captured first."""
    return bool(rows["seen_at"][0] == of_version["seen_at"][0])


def _since(rows: pl.DataFrame) -> datetime:
    """Since when a column has had the type that it has."""
    stretch = rows["source_type"].rle_id()
    since: datetime = rows["seen_at"].filter(stretch == stretch[-1])[0]
    return since


def _to_use(table: Table, column: str, type_: str, raw_column: str) -> str:
    contract = f"{table.model.__name__} ({declared_at(table.model)})"
    if raw_column != column:
        return (
            f"captured as {raw_column}, because {table.path} cannot hold it under its own name; to use it, offer it in "
            f"a view under another one, and add that to {contract}"
        )
    dtype = raw_type(type_)
    annotation = "Instant" if isinstance(dtype, pl.Datetime) else f"pl.{dtype}"
    # As text, 1.5 and 1.50 would be two versions of a row.
    number = ", metadata=NUMBER" if re.fullmatch(r"numeric(\(.*\))?", type_) else ""
    line = f'{column}: {annotation} = pa.Field(nullable=True, description="..."{number})'
    return f"captured; to use it, add `{line}` to {contract} and raise its version"


def _to_accept(table: Table, column: str) -> str:
    return (
        f"captured, and what does not fit the cleansed table goes to quarantine; to accept it, raise the version of "
        f"{table.model.__name__} ({declared_at(table.model, column)})"
    )


def _to_accept_that_it_is_gone(table: Table, raw_column: str) -> str:
    return (
        f"{table.path} keeps its column {raw_column}, with nulls from then on; to accept it, raise the version of "
        f"{table.model.__name__} ({declared_at(table.model)})"
    )
