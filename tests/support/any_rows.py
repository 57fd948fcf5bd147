"""Rows on both sides of what the rules of a contract allow."""

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import narwhals as nw
import polars as pl
from hypothesis import strategies as st

from orders_lakehouse.contracts.raw import number_columns
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.tables import RAW_OF
from tests.support.judging import keeping_original
from tests.support.rows import VALID, on, rows


def judged(table: Table, *given: Mapping[str, Any]) -> pl.DataFrame:
    """Return rows as `split` takes them: the cleansed columns, and the original row beside them."""
    raw = rows(RAW_OF[table.name], *({} for _ in given))
    originals = keeping_original(nw.from_native(raw.lazy()), table).to_native().collect().drop(raw.columns)
    return pl.concat([as_read(table, *given), originals], how="horizontal")


def as_read(table: Table, *given: Mapping[str, Any]) -> pl.DataFrame:
    """Return rows of a table; numbers that arrived as text have the types in which `number` reads them."""
    wider = {
        name: pl.Decimal(table.schema[name].precision + 2, table.schema[name].scale + 1)
        for name in number_columns(RAW_OF[table.name].model)
    }
    filled = [{**VALID[table.path], **row} for row in given]
    return pl.DataFrame(filled, schema={**table.schema, **wider}, orient="row")


_TEXTS = ("", " ", "x", "a@b.c", "a@b", "a@b.c\n", " a@b.c", "é@ü.ß", "\u00a0", "\n\nx")
_INTEGERS = (-(2**31), -1, 0, 1, 2, 2**31 - 1)
_INSTANTS = tuple(
    VALID["cleansed/orders"]["captured_at"] + timedelta(hours=24 * days, microseconds=more)
    for days in (-400, -1, 0, 1, 2)
    for more in (-1, 0, 1)
)
_DATES = tuple(
    on(text) for text in ("0001-01-01", "1899-12-31", "1900-01-01", "2020-03-01", "2020-03-02", "9999-12-31")
)


def _values(table: Table, name: str) -> st.SearchStrategy[Any]:
    """Return values of a column's type on both sides of its rules' limits, and null."""
    dtype = table.schema[name]
    allowed = [
        value
        for check in table.model.to_schema().columns[name].checks
        for value in list((check.statistics or {}).get("allowed_values", ()))[:3]
    ]
    if isinstance(dtype, pl.Decimal):
        step = Decimal(1).scaleb(-(dtype.scale or 0))
        pool: tuple[Any, ...] = (
            -step,
            Decimal(0),
            step,
            Decimal(7),
            Decimal(10) ** (dtype.precision - dtype.scale) - step,
        )
    else:
        pool = {
            pl.String: (*allowed, *_TEXTS),
            pl.Int32: _INTEGERS,
            pl.Int64: _INTEGERS,
            pl.Boolean: (True, False),
            pl.Date: _DATES,
            pl.Datetime: _INSTANTS,
        }[dtype.base_type()]
    return st.one_of(st.just(VALID[table.path][name]), st.sampled_from(pool), st.none())


def any_rows(table: Table) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Return rows of a table with values on both sides of the limits of its rules."""
    row = st.fixed_dictionaries({name: _values(table, name) for name in table.columns})
    return st.lists(row, min_size=1, max_size=12)


LATER = VALID["cleansed/orders"]["captured_at"] + timedelta(hours=24, microseconds=1)
