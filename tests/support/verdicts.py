"""Verdicts on rows: of the compiled rules, and of Pandera."""

import narwhals as nw
import pandera.errors
import polars as pl

from orders_lakehouse.contracts.base import Rule, rules_of
from orders_lakehouse.contracts.table import Table
from tests.support.frames import collected


def verdicts_of(expression: nw.Expr, frame: pl.DataFrame) -> list[bool | None]:
    return collected(nw.from_native(frame.lazy()).select(expression.alias("valid")))["valid"].to_list()


def _stored(table: Table) -> list[Rule]:
    """Return the rules that stored rows keep; Pandera knows no other."""
    return [one for one in rules_of(table.model) if one.outcome != "warn"]


def broken_by_rules(table: Table, frame: pl.DataFrame) -> list[set[int]]:
    """Return the positions of the rules that each row breaks."""
    compiled = _stored(table)
    verdicts = [verdicts_of(one.valid, frame) for one in compiled]
    return [{n for n, valid in enumerate(verdicts) if valid[row] is False} for row in range(frame.height)]


def broken_by_pandera(table: Table, frame: pl.DataFrame) -> list[set[int]]:
    """Return the same from Pandera; the model has the order of `rules_of`."""
    schema = table.model.to_schema()
    positions: dict[tuple[str | None, int | None], int] = {}
    for name, column in schema.columns.items():
        for number in [*([] if column.nullable else [None]), *range(len(column.checks))]:
            positions[name, number] = len(positions)
    for number in range(len(schema.checks)):
        positions[None, number] = len(positions)
    assert len(positions) == len(_stored(table))
    broken: list[set[int]] = [set() for _ in range(frame.height)]
    try:
        table.model.validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        for case in errors.failure_cases.iter_rows(named=True):
            column = case["column"] if case["schema_context"] == "Column" else None
            broken[case["index"]].add(positions[column, case["check_number"]])
    return broken
