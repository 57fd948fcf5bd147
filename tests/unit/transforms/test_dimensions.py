"""Customers and products: every version, typed and judged alone."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from orders_lakehouse.contracts.tables import CUSTOMERS, PRODUCTS, RAW_CUSTOMERS, RAW_PRODUCTS
from orders_lakehouse.transforms.dimensions import cleanse_customers, cleanse_products
from tests.unit.calendars import calendar_in
from tests.unit.conftest import collected, on_polars
from tests.unit.rows import at, on, rows

Both = tuple[pl.DataFrame, pl.DataFrame]


def _customers(*versions: Mapping[str, Any], timezone: str = "UTC") -> Both:
    good, bad = cleanse_customers(on_polars(rows(RAW_CUSTOMERS, *versions)), calendar_in(timezone))
    return collected(good), collected(bad)


def _products(*versions: Mapping[str, Any]) -> Both:
    good, bad = cleanse_products(on_polars(rows(RAW_PRODUCTS, *versions)))
    return collected(good), collected(bad)


def test_a_customer_is_typed_and_trimmed_and_keeps_its_key() -> None:
    good, bad = _customers(
        {
            "customer_id": " C1 ",
            "full_name": " Ada Lovelace\n",
            "email": " Ada@Example.ORG ",
            "city": " ",
            "country_code": "gb ",
        }
    )
    assert bad.is_empty()
    expected = {"customer_id": " C1 ", "full_name": "Ada Lovelace", "email": "ada@example.org", "city": None}
    assert good.equals(rows(CUSTOMERS, expected))


def test_a_product_is_typed_and_trimmed_and_keeps_its_key() -> None:
    good, bad = _products({"product_id": " P1", "product_name": " ", "currency": " eur", "unit_price": "3.5000"})
    assert bad.is_empty()
    assert good.equals(
        rows(PRODUCTS, {"product_id": " P1", "product_name": None, "unit_price": Decimal("3.50"), "currency": "EUR"})
    )


def test_every_version_is_judged_alone_and_counts_once() -> None:
    good, bad = _customers(
        {"city": "Paris", "updated_at": at("2020-03-01 12:00")},
        {"email": "no address", "updated_at": at("2020-03-02 12:00")},
        {"city": "Rome", "updated_at": at("2020-03-02 12:30")},
        {"city": "Rome", "updated_at": at("2020-03-02 12:30")},
    )
    assert good.select("city", "versions").rows() == [("Paris", 1), ("Rome", 1), ("Rome", 1)]
    assert bad.select("email", "reasons", "versions").rows() == [("no address", "email_malformed", 1)]


@pytest.mark.parametrize(
    ("registered_at", "timezone", "expected"),
    [
        ("2019-05-01 22:30", "UTC", on("2019-05-01")),
        ("2019-05-01 22:30", "Europe/Berlin", on("2019-05-02")),
        ("2019-05-01 02:30", "America/New_York", on("2019-04-30")),
        (None, "Europe/Berlin", None),
    ],
)
def test_the_date_of_registration_is_cut_in_the_time_zone_of_the_lake(
    registered_at: str | None, timezone: str, expected: date | None
) -> None:
    good, _ = _customers({"registered_at": registered_at and at(registered_at)}, timezone=timezone)
    assert good["registration_date"].to_list() == [expected]


def test_a_customer_may_be_born_on_the_day_of_registration_where_the_shop_is() -> None:
    born_today = {"date_of_birth": on("2019-05-02"), "registered_at": at("2019-05-01 22:30")}
    assert _customers(born_today, timezone="Europe/Berlin")[0].height == 1
    _, bad = _customers(born_today, timezone="UTC")
    assert bad["reasons"].to_list() == ["date_of_birth_out_of_range"]


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({"customer_id": None}, "customer_id_missing"),
        ({"email": "ada"}, "email_malformed"),
        ({"country_code": "United Kingdom"}, "country_code_not_iso_3166"),
        ({"date_of_birth": on("0001-01-01")}, "date_of_birth_out_of_range"),
        ({"registered_at": at("9999-12-31 00:00")}, "registered_at_in_future"),
        (
            {"email": "ada", "country_code": "XX", "date_of_birth": on("1850-01-01")},
            "email_malformed, country_code_not_iso_3166, date_of_birth_out_of_range",
        ),
    ],
)
def test_a_wrong_customer_is_quarantined_as_it_came(change: dict[str, Any], reasons: str) -> None:
    good, bad = _customers(change)
    assert good.is_empty()
    assert bad["reasons"].to_list() == [reasons]
    assert bad.select(RAW_CUSTOMERS.columns).equals(rows(RAW_CUSTOMERS, change))


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({"unit_price": None}, "unit_price_missing"),
        ({"unit_price": "NaN"}, "unit_price_missing"),
        ({"unit_price": "3.505"}, "unit_price_missing"),
        ({"unit_price": "-0.01"}, "unit_price_negative"),
        ({"currency": None}, "currency_missing"),
        ({"product_id": "\t"}, "product_id_missing"),
    ],
)
def test_a_wrong_product_is_quarantined_as_it_came(change: dict[str, Any], reasons: str) -> None:
    good, bad = _products(change)
    assert good.is_empty()
    assert bad["reasons"].to_list() == [reasons]
    assert bad.select(RAW_PRODUCTS.columns).equals(rows(RAW_PRODUCTS, change))


def test_deleted_versions_are_marked_and_not_judged() -> None:
    deleted = {"deleted_at": at("2020-03-02 12:00")}
    good, bad = _customers({**deleted, "email": "ada"})
    assert bad.is_empty()
    assert good["is_deleted"].to_list() == [True]
    good, bad = _products({**deleted, "unit_price": "NaN"})
    assert bad.is_empty()
    assert good.select("is_deleted", "unit_price").rows() == [(True, None)]
