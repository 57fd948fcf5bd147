"""Tests of the rules: for each of them a row that breaks it alone, and that nothing else would catch."""

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import polars as pl
import pytest

from orders_lakehouse.contracts.base import Rule, rules_of
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.defs.checks.contracts import broken_rules, suspects
from orders_lakehouse.tables import CLEANSED, CURATED
from tests.support.broken_rules import _BEYOND, _FINER, BREAKS, breaking
from tests.support.rows import VALID, rows

# Net is at most gross and at least 0, so a gross below 0 breaks one of the two as well. A key of white space has white
# space around it, and a currency that is none is not the order's.
TOLD_WITH = {
    ("curated/daily_sales", "gross_below_0"): {"net_above_gross"},
    ("cleansed/customers", "customer_id_missing"): {"customer_id_has_unseen_characters"},
    ("cleansed/products", "product_id_missing"): {"product_id_has_unseen_characters"},
    ("cleansed/payments", "payment_id_missing"): {"payment_id_has_unseen_characters"},
    ("cleansed/payments", "currency_not_iso_4217"): {"currency_not_of_order"},
    ("cleansed/warehouses", "code_missing"): {"code_has_unseen_characters"},
    ("cleansed/shipments", "shipment_id_missing"): {"shipment_id_has_unseen_characters"},
    ("cleansed/shipment_items", "shipment_id_missing"): {"shipment_id_has_unseen_characters"},
}

CASES = [
    pytest.param(table, rule, id=f"{table.name}-{number}-{rule.reason}")
    for table in (*CLEANSED, *CURATED)
    for number, rule in enumerate(rules_of(table.model))
]


def judged(table: Table, example: Mapping[str, Any]) -> pl.DataFrame:
    """A row as the rules judge it: a number that its column cannot hold has the type that `columns.number` gives it."""
    beyond = {
        name: value
        for name, value in example.items()
        if value is not None and value in (_BEYOND.get(name), _FINER.get(name))
    }
    wider = {}
    for name, value in beyond.items():
        dtype = table.schema[name]
        assert isinstance(dtype, pl.Decimal)
        wider[name] = pl.lit(value, pl.Decimal(dtype.precision + 2, dtype.scale + 1))
    return rows(table, {name: value for name, value in example.items() if name not in beyond}).with_columns(**wider)


def reasons(table: Table, frame: pl.DataFrame, without: Rule | None = None) -> set[str]:
    """Reasons that some rule of a contract gives."""
    judged = nw.from_native(frame.lazy())
    return {
        rule.reason
        for rule in rules_of(table.model)
        if without is None or rule.description != without.description
        if len(judged.filter(~rule.valid).select("*").collect()) > 0
    }


@pytest.mark.parametrize("table", [*CLEANSED, *CURATED], ids=lambda table: table.name)
def test_valid_row_breaks_no_rule(table: Table) -> None:
    assert reasons(table, rows(table, {})) == set()
    assert suspects(nw.from_native(rows(table, {}).lazy()), table)[0].is_empty()


@pytest.mark.parametrize(("table", "rule"), CASES)
def test_broken_row_is_caught_by_exactly_one_rule(table: Table, rule: Rule) -> None:
    example = breaking(table, rule)
    # A key that is missing has no characters.
    others = set() if None in example.values() else TOLD_WITH.get((table.path, rule.reason), set())
    broken = judged(table, example)
    assert reasons(table, broken) == {rule.reason, *others}
    assert reasons(table, broken, without=rule) == others
    # Pandera, which judges what is stored, says the same, but for rules that only warn: a stored row may break them.
    warnings = {found.reason for found in rules_of(table.model) if found.outcome == "warn"}
    demanded = {rule.reason, *others} - warnings
    of_rows = broken_rules(table, broken).filter(pl.col("row").is_not_null())
    assert of_rows.height == len(demanded)
    # And of all that is stored, it judges what the rules find.
    assert suspects(nw.from_native(broken.lazy()), table)[0].height == min(len(demanded), 1)


def test_every_example_is_of_a_rule() -> None:
    for table in (*CLEANSED, *CURATED):
        assert set(BREAKS[table.path]) <= {rule.reason for rule in rules_of(table.model)}
        assert set(VALID[table.path]) == set(table.columns)
