"""No row is lost by the split, and a rejected row is shown as it came."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orders_lakehouse.contracts.base import contract_version, rules_of
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.waivers import Waiver
from orders_lakehouse.entities.order_items import ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.tables import CLEANSED, QUARANTINE_OF, RAW_OF
from orders_lakehouse.transforms import columns as c
from tests.support.any_rows import any_rows, judged
from tests.support.frames import Lazily, collected, on_polars
from tests.support.judging import keeping_original, split
from tests.support.rows import VALID, at, on, rows


def _both(frame: pl.DataFrame, table: Table) -> tuple[pl.DataFrame, pl.DataFrame]:
    good, bad = split(on_polars(frame), table)
    return collected(good), collected(bad)


def _clock_ran_ahead(row: dict[str, Any]) -> bool:
    clock, captured = row["updated_at"], row["captured_at"]
    return clock is not None and captured is not None and clock > captured + timedelta(days=1)


@pytest.mark.parametrize("table", CLEANSED, ids=lambda table: table.name)
@settings(max_examples=15)
@given(data=st.data())
def test_every_row_is_either_good_or_bad(table: Table, data: st.DataObject) -> None:
    given_rows: list[dict[str, Any]] = [
        {**row, "is_deleted": bool(row["is_deleted"]), "versions": number + 1}
        for number, row in enumerate(data.draw(any_rows(table)))
    ]
    good, bad = _both(judged(table, *given_rows), table)
    assert sorted([*good["versions"], *bad["versions"]]) == list(range(1, len(given_rows) + 1))
    assert good.columns == table.columns
    assert bad.columns == QUARANTINE_OF[table.name].columns
    tombstones = {
        row["versions"]
        for row in given_rows
        if row["is_deleted"] and not _clock_ran_ahead(row) and (row["candidates"] or 1) <= 1
    }
    assert tombstones <= set(good["versions"])
    assert all(bad["reasons"].to_list())
    kept = rows(table, *(row for row in given_rows if row["versions"] in set(good["versions"])))
    # What a rule blanks is null; nothing else changes but the warnings, which say so.
    blanked = {name for rule in rules_of(table.model) for name in rule.blanks}
    same = [name for name in table.columns if name not in {*blanked, "warnings"}]
    assert good.select(same).equals(kept.select(same))
    for name in blanked:
        assert (good[name].is_null() | good[name].eq_missing(kept[name])).all()
        assert good.filter(good[name].is_null() & kept[name].is_not_null())["warnings"].is_not_null().all()
    assert good.filter("is_deleted")["warnings"].is_null().all()


@pytest.mark.parametrize("table", CLEANSED, ids=lambda table: table.name)
def test_both_parts_have_the_types_of_their_tables(table: Table, lazily: Lazily) -> None:
    good, bad = split(lazily(judged(table, {}, {"updated_at": None})), table)
    assert collected(good).schema == table.schema
    assert collected(bad).schema == QUARANTINE_OF[table.name].schema


@pytest.mark.parametrize("table", CLEANSED, ids=lambda table: table.name)
def test_no_rows_split_into_no_rows(table: Table) -> None:
    good, bad = _both(judged(table), table)
    assert good.is_empty()
    assert bad.is_empty()


@pytest.mark.parametrize("table", CLEANSED, ids=lambda table: table.name)
def test_tombstone_is_not_judged(table: Table) -> None:
    nothing = {name: None for name in table.columns if name not in ("is_deleted", "versions")}
    good, bad = _both(judged(table, {**nothing, "is_deleted": True}), table)
    assert good.height == 1
    assert bad.is_empty()


def test_rejected_row_is_shown_as_it_came(lazily: Lazily) -> None:
    as_it_came = rows(RAW_ORDERS, {"status": " lost ", "currency": " eur", "customer_id": " "})
    cleaned = (
        keeping_original(lazily(as_it_came), ORDERS)
        .with_columns(c.trimmed("status"), c.upper("currency"), c.key_or_null("customer_id"))
        .with_columns(
            is_deleted=~nw.col("deleted_at").is_null(),
            versions=nw.lit(7).cast(nw.Int64),
            candidates=nw.lit(1).cast(nw.Int64),
            business_date=nw.col("captured_on"),
            order_date=nw.col("captured_on"),
        )
    )
    _, bad = split(cleaned, ORDERS)
    (found,) = collected(bad).to_dicts()
    assert found == {
        **as_it_came.row(0, named=True),
        "order_date": on("2020-03-02"),
        "reasons": "status_not_in_list",
        "contract_version": contract_version(ORDERS.model),
        "versions": 7,
    }


@pytest.mark.parametrize("table", CLEANSED, ids=lambda table: table.name)
def test_keeping_the_original_changes_no_existing_column(table: Table, lazily: Lazily) -> None:
    raw = rows(RAW_OF[table.name], VALID[RAW_OF[table.name].path])
    kept = collected(keeping_original(lazily(raw), table))
    assert kept.select(raw.columns).equals(raw)
    assert kept.width == 2 * raw.width


def _waiver(rule: str, key: str = "o1 / 1", table: str = "order_items") -> Waiver:
    granted, expires, until = on("2020-01-01"), on("2020-03-02"), at("2020-03-03 00:00")
    return Waiver(table, rule, key, "Goodwill", "shop", granted, expires, until)


NEGATIVE = {"discount": Decimal("-1.00"), "total_price": Decimal("-1.00")}
BOTH = (_waiver("discount_negative"), _waiver("total_price_negative"))


@pytest.mark.parametrize(
    ("row", "waivers", "reasons"),
    [
        ({}, BOTH, None),
        ({}, BOTH[:1], "total_price_negative"),
        ({"quantity": Decimal(0)}, BOTH, "quantity_not_positive"),
        ({"line_number": 2}, BOTH, "discount_negative, total_price_negative"),
        ({"line_number": None}, BOTH, "line_number_missing, discount_negative, total_price_negative"),
        ({"captured_at": at("2020-03-02 23:59:59.999999")}, BOTH, None),
        ({"captured_at": at("2020-03-03 00:00")}, BOTH, "discount_negative, total_price_negative"),
        ({}, (*BOTH[:1], _waiver("total_price_negative", table="payments")), "total_price_negative"),
    ],
)
def test_waived_rule_is_no_reason_for_its_row_captured_in_time(
    row: dict[str, Any], waivers: tuple[Waiver, ...], reasons: str | None, lazily: Lazily
) -> None:
    good, bad = split(lazily(judged(ORDER_ITEMS, {**NEGATIVE, **row})), ORDER_ITEMS, waivers)
    assert collected(good).height == (reasons is None)
    assert collected(bad)["reasons"].to_list() == ([] if reasons is None else [reasons])
