"""Which rows stand with a warning: by the rules that do not reject, and by codes outside of their dates."""

from pathlib import Path
from typing import Any

import narwhals as nw
import pytest

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.defs.checks.row_warnings import verdicts_on
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.customers import CUSTOMERS
from orders_lakehouse.entities.order_items import ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS
from orders_lakehouse.pipeline.row_warnings import warnings_by_date
from orders_lakehouse.tables import CLEANSED
from tests.support.rows import on, rows

FIRST, LAST = on("2020-03-01"), on("2026-12-31")


def _warnings(folder: Path, table: Table, *given: dict[str, Any]) -> list[tuple[Any, ...]]:
    lake = Lake(str(folder), "UTC")
    stored = nw.from_native(rows(table, *given).lazy())
    lake.replace_dates([table], FIRST, LAST, lambda _: [stored])
    return warnings_by_date(lake, table, FIRST, LAST).rows()


def test_each_warning_of_a_row_counts_on_its_date(tmp_path: Path) -> None:
    both = "shipped_at_out_of_range, shipped_before_ordered"
    found = _warnings(
        tmp_path,
        ORDERS,
        {"order_id": "b", "warnings": both},
        {"order_id": "a", "warnings": "shipped_before_ordered"},
        {"order_id": "c", "warnings": "shipped_before_ordered", "order_date": on("2020-03-05")},
        {"order_id": "fine"},
    )
    assert found == [
        (on("2020-03-02"), "shipped_at_out_of_range", 1, ["b"]),
        (on("2020-03-02"), "shipped_before_ordered", 2, ["a", "b"]),
        (on("2020-03-05"), "shipped_before_ordered", 1, ["c"]),
    ]


def test_code_warns_on_dates_on_which_it_was_not_valid(tmp_path: Path) -> None:
    found = _warnings(
        tmp_path,
        ORDERS,
        {"order_id": "last day", "currency": "HRK", "order_date": on("2023-01-14")},
        {"order_id": "day after", "currency": "HRK", "order_date": on("2023-01-15")},
        {"order_id": "not yet", "currency": "ZWG", "order_date": on("2024-06-24")},
        {"order_id": "first day", "currency": "ZWG", "order_date": on("2024-06-25")},
        {"order_id": "euro", "currency": "EUR", "order_date": on("2023-01-15")},
        {"order_id": "gone", "currency": "HRK", "order_date": on("2023-01-15"), "is_deleted": True},
    )
    assert found == [
        (on("2023-01-15"), "currency HRK outside of its dates", 1, ["day after"]),
        (on("2024-06-24"), "currency ZWG outside of its dates", 1, ["not yet"]),
    ]


def test_former_country_warns_at_its_capture_date(tmp_path: Path) -> None:
    found = _warnings(tmp_path, CUSTOMERS, {"customer_id": "old", "country_code": "DD"}, {"country_code": "DE"})
    assert found == [(on("2020-03-02"), "country_code DD outside of its dates", 1, ["old"])]


@pytest.mark.parametrize("table", CLEANSED, ids=lambda table: table.name)
def test_rows_without_warning_are_silent(tmp_path: Path, table: Table) -> None:
    assert _warnings(tmp_path, table, {}) == []


def test_many_rows_are_counted_and_some_named(tmp_path: Path) -> None:
    warned = [{"order_id": f"o{number}", "warnings": "shipped_before_ordered"} for number in range(8)]
    ((_, _, count, sample),) = _warnings(tmp_path, ORDERS, *warned)
    assert (count, sample) == (8, ["o0", "o1", "o2", "o3", "o4"])


def test_check_says_what_and_where_to_look(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "UTC")
    stored = nw.from_native(rows(ORDERS, {"warnings": "shipped_before_ordered"}).lazy())
    lake.replace_dates([ORDERS], FIRST, LAST, lambda _: [stored])
    (verdict,) = verdicts_on(warnings_by_date(lake, ORDERS, FIRST, LAST), ORDERS).to_dicts()
    assert verdict["date"] == on("2020-03-02")
    assert not verdict["passed"]
    assert verdict["found"] == "shipped_before_ordered: 1 rows"
    assert verdict["detail"].startswith("shipped_before_ordered (o1). The rows: lakehouse sql ")
    assert verdicts_on(warnings_by_date(lake, ORDER_ITEMS, FIRST, LAST), ORDER_ITEMS).is_empty()
