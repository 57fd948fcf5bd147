"""What a contract check says of stored rows that break their contract, and what it keeps to itself."""

import polars as pl
import pytest

from orders_lakehouse.contracts.personal import MASK
from orders_lakehouse.contracts.tables import CUSTOMERS, DAILY_SALES
from orders_lakehouse.defs.checks import broken_rules
from tests.unit.rows import VALID, at, on, rows

SECRETS = ("Ada Lovelace", "no at sign", "1700-01-01")


def test_rows_that_hold_their_contract_break_nothing() -> None:
    assert broken_rules(CUSTOMERS, rows(CUSTOMERS, {}, {"customer_id": "c2"})).is_empty()


def test_a_row_is_named_by_its_date_key_and_rule() -> None:
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
def test_nobody_is_named(broken: dict[str, object], value: str | None) -> None:
    found = broken_rules(CUSTOMERS, rows(CUSTOMERS, broken))
    assert found["row"].to_list() == [VALID["cleansed/customers"]["customer_id"]]
    assert found["value"].to_list() == [value]
    assert not any(secret in str(found.rows()) for secret in SECRETS)


def test_tombstones_are_not_judged() -> None:
    assert broken_rules(CUSTOMERS, rows(CUSTOMERS, {"email": "no at sign", "is_deleted": True})).is_empty()


def test_a_column_that_is_missing_or_of_another_type_is_named() -> None:
    sales = rows(DAILY_SALES, {})
    missing = broken_rules(DAILY_SALES, sales.drop("units"))
    assert "units" in missing["value"].to_list()
    assert missing["date"].to_list() == [None]
    other = broken_rules(DAILY_SALES, sales.with_columns(pl.col("units").cast(pl.String)))
    assert any(rule.startswith("units: dtype") for rule in other["rule"])
