"""What a contract check says of stored rows that break their contract, and what it keeps to itself."""

from decimal import Decimal
from pathlib import Path

import narwhals as nw
import polars as pl
import pytest
from deltalake import write_deltalake

from orders_lakehouse.contracts.personal import MASK
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.waivers import Waiver
from orders_lakehouse.curated.customer_profile import CUSTOMER_PROFILE
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.defs.checks.contracts import broken_rules, suspects
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.customers import CUSTOMERS
from orders_lakehouse.entities.order_items import ORDER_ITEMS
from orders_lakehouse.pipeline.waivers import excused
from tests.support.rows import VALID, at, on, rows

SECRETS = ("Ada Lovelace", "no at sign", "1700-01-01")


def test_rows_that_hold_their_contract_break_nothing() -> None:
    assert broken_rules(CUSTOMERS, rows(CUSTOMERS, {}, {"customer_id": "c2"})).is_empty()


def test_row_is_named_by_its_date_key_and_rule() -> None:
    stored = rows(CUSTOMERS, {}, {"customer_id": "c2", "country_code": "ZZ", "captured_on": on("2020-03-05")})
    (found,) = broken_rules(CUSTOMERS, stored).rows(named=True)
    assert (found["date"], found["row"], found["value"]) == (on("2020-03-05"), "c2", "ZZ")
    assert found["rule"].startswith("country_code: ")


@pytest.mark.parametrize(
    ("broken", "value"),
    [
        ({"email": "no at sign"}, MASK),
        # A rule over several columns is told with the whole row.
        ({"date_of_birth": on("1700-01-01")}, None),
        ({"registered_at": at("2030-01-01")}, None),
    ],
)
def test_no_person_is_named_in_broken_rows(broken: dict[str, object], value: str | None) -> None:
    found = broken_rules(CUSTOMERS, rows(CUSTOMERS, broken))
    assert found["row"].to_list() == [VALID["cleansed/customers"]["customer_id"]]
    assert found["value"].to_list() == [value]
    assert not any(secret in str(found.rows()) for secret in SECRETS)


def test_tombstones_are_not_judged() -> None:
    assert broken_rules(CUSTOMERS, rows(CUSTOMERS, {"email": "no at sign", "is_deleted": True})).is_empty()


def test_column_that_is_missing_or_of_another_type_is_named() -> None:
    sales = rows(DAILY_SALES, {})
    missing = broken_rules(DAILY_SALES, sales.drop("units"))
    assert "units" in missing["value"].to_list()
    assert missing["date"].to_list() == [None]
    other = broken_rules(DAILY_SALES, sales.with_columns(pl.col("units").cast(pl.String)))
    assert any(rule.startswith("units: dtype") for rule in other["rule"])


GRANTED = {"reason": "Goodwill", "owner": "shop", "granted": on("2020-01-01"), "expires": on("2020-03-02")}
WAIVED = Waiver("order_items", "discount_negative", "o1 / 1", until=at("2020-03-03"), **GRANTED)
NEGATIVE = {"discount": Decimal("-1.00")}
SUMS = {"gross": Decimal("-1.00"), "net": Decimal("-1.00")}


@pytest.mark.parametrize(
    ("table", "row", "rules"),
    [
        (ORDER_ITEMS, NEGATIVE, "discount_negative"),
        (ORDER_ITEMS, {**NEGATIVE, "quantity": 0}, None),
        (ORDER_ITEMS, {**NEGATIVE, "line_number": 2}, None),
        (ORDER_ITEMS, {**NEGATIVE, "captured_at": at("2020-03-03")}, None),
        (ORDER_ITEMS, {**NEGATIVE, "is_deleted": True}, None),
        (ORDER_ITEMS, {}, None),
        # What is made of a waived line may have what follows, and be null all the same in nothing.
        (ORDER_LINES, NEGATIVE, "discount_below_0"),
        (ORDER_LINES, {**NEGATIVE, "line_number": 2}, None),
        (ORDER_LINES, {**NEGATIVE, "unit_price": None}, None),
        (DAILY_SALES, SUMS, "gross_below_0, net_below_0"),
        (DAILY_SALES, {**SUMS, "currency": "USD"}, None),
        (CUSTOMER_PROFILE, {"spend": Decimal("-1.00")}, "spend_below_0"),
        (CUSTOMER_PROFILE, {"spend": Decimal("-1.00"), "customer_id": "c2"}, None),
    ],
)
def test_waiver_excuses_only_the_rows_it_names(
    tmp_path: Path, table: Table, row: dict[str, object], rules: str | None
) -> None:
    lake = Lake(str(tmp_path), "UTC")
    write_deltalake(lake.open(ORDER_LINES), rows(ORDER_LINES, NEGATIVE), mode="append")
    dates = (on("2020-03-02"), on("2020-03-02")) if table.partitioned_by else None
    known = excused(lake, table, rows(table, row), dates, [WAIVED])
    assert known["rules"].to_list() == ([] if rules is None else [rules])


def test_many_broken_rows_are_counted_and_some_are_listed() -> None:
    days = [on("2020-01-01"), on("2020-01-02")]
    lines = [{"order_id": f"o{n}", "order_date": days[n % 2], "quantity": 0} for n in range(5)]
    stored = nw.from_native(rows(ORDER_ITEMS, *lines, {"order_id": "fine"}).lazy())
    found, beyond = suspects(stored, ORDER_ITEMS, most=2)
    assert found["order_id"].to_list() == ["o0", "o1"]
    assert beyond.sort("date").rows() == [(days[0], "some rule", 2, "…"), (days[1], "some rule", 1, "…")]
    found, beyond = suspects(stored, ORDER_ITEMS, most=6)
    assert found.height == 5
    assert beyond.is_empty()


def test_table_without_dates_counts_all_its_broken_rows() -> None:
    profiles = [{"customer_id": f"c{n}", "orders": 0} for n in range(3)]
    found, beyond = suspects(nw.from_native(rows(CUSTOMER_PROFILE, *profiles).lazy()), CUSTOMER_PROFILE, most=1)
    assert found.height == 1
    assert beyond.rows() == [(None, "some rule", 2, "…")]
