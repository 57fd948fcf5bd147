"""Customers and products: every version, typed and judged alone."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.waivers import Waiver
from orders_lakehouse.entities.customers import CUSTOMERS, RAW_CUSTOMERS
from orders_lakehouse.entities.products import PRODUCTS, RAW_PRODUCTS
from tests.support.calendars import calendar_in
from tests.support.frames import collected, on_polars
from tests.support.judging import cleanse_customers, cleanse_products
from tests.support.rows import at, on, rows

Both = tuple[pl.DataFrame, pl.DataFrame]


def _customers(*versions: Mapping[str, Any], timezone: str = "UTC") -> Both:
    good, bad = cleanse_customers(on_polars(rows(RAW_CUSTOMERS, *versions)), calendar_in(timezone))
    return collected(good), collected(bad)


def _products(*versions: Mapping[str, Any]) -> Both:
    good, bad = cleanse_products(on_polars(rows(RAW_PRODUCTS, *versions)))
    return collected(good), collected(bad)


def test_customer_is_typed_and_trimmed_and_keeps_its_key() -> None:
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
    expected = {
        "customer_id": " C1 ",
        "full_name": "Ada Lovelace",
        "email": "ada@example.org",
        "city": None,
        "warnings": "customer_id_has_unseen_characters",
    }
    assert good.equals(rows(CUSTOMERS, expected))


def test_product_is_typed_and_trimmed_and_keeps_its_key() -> None:
    good, bad = _products({"product_id": " P1", "product_name": " ", "currency": " eur", "unit_price": "3.5000"})
    assert bad.is_empty()
    expected = {"product_id": " P1", "product_name": None, "unit_price": Decimal("3.50"), "currency": "EUR"}
    assert good.equals(rows(PRODUCTS, {**expected, "warnings": "product_id_has_unseen_characters"}))


def test_every_version_is_judged_alone_and_counts_once() -> None:
    good, bad = _customers(
        {"city": "Paris", "updated_at": at("2020-03-01 12:00")},
        {"customer_id": " ", "updated_at": at("2020-03-02 12:00")},
        {"city": "Rome", "updated_at": at("2020-03-02 12:30")},
        {"city": "Rome", "updated_at": at("2020-03-02 12:30")},
    )
    assert good.select("city", "versions").rows() == [("Paris", 1), ("Rome", 1), ("Rome", 1)]
    assert bad.select("customer_id", "reasons", "versions").rows() == [(" ", "customer_id_missing", 1)]


@pytest.mark.parametrize(
    ("registered_at", "timezone", "expected"),
    [
        ("2019-05-01 22:30", "UTC", on("2019-05-01")),
        ("2019-05-01 22:30", "Europe/Berlin", on("2019-05-02")),
        ("2019-05-01 02:30", "America/New_York", on("2019-04-30")),
        (None, "Europe/Berlin", None),
    ],
)
def test_registration_date_is_in_the_time_zone_of_the_lake(
    registered_at: str | None, timezone: str, expected: date | None
) -> None:
    good, _ = _customers({"registered_at": registered_at and at(registered_at)}, timezone=timezone)
    assert good["registration_date"].to_list() == [expected]


def test_customer_may_be_born_on_the_local_registration_date() -> None:
    born_today = {"date_of_birth": on("2019-05-02"), "registered_at": at("2019-05-01 22:30")}
    good, _ = _customers(born_today, timezone="Europe/Berlin")
    assert good.select("date_of_birth", "warnings").rows() == [(on("2019-05-02"), None)]
    good, _ = _customers(born_today, timezone="UTC")
    assert good.select("date_of_birth", "warnings").rows() == [(None, "date_of_birth_out_of_range")]


@pytest.mark.parametrize(
    ("change", "kept", "warnings"),
    [
        ({"email": "ada"}, {"email": None}, "email_malformed"),
        ({"country_code": "United Kingdom"}, {"country_code": None}, "country_code_not_iso_3166"),
        ({"country_code": "uk"}, {"country_code": "GB"}, None),
        ({"country_code": "DD"}, {"country_code": "DD"}, None),
        ({"date_of_birth": on("0001-01-01")}, {"date_of_birth": None}, "date_of_birth_out_of_range"),
        (
            {"registered_at": at("9999-12-31 00:00")},
            {"registered_at": None, "registration_date": None},
            "registered_at_out_of_range",
        ),
        (
            {"email": "ada", "country_code": "XX", "date_of_birth": on("1850-01-01")},
            {"email": None, "country_code": None, "date_of_birth": None},
            "email_malformed, country_code_not_iso_3166, date_of_birth_out_of_range",
        ),
    ],
)
def test_customer_with_a_wrong_attribute_keeps_the_others(
    change: dict[str, Any], kept: dict[str, Any], warnings: str | None
) -> None:
    good, bad = _customers(change)
    assert bad.is_empty()
    assert good.equals(rows(CUSTOMERS, {**change, **kept, "warnings": warnings}))


@pytest.mark.parametrize("change", [{"customer_id": None}, {"customer_id": " "}])
def test_customer_without_its_key_is_quarantined_as_it_came(change: dict[str, Any]) -> None:
    good, bad = _customers(change)
    assert good.is_empty()
    assert bad["reasons"].to_list() == ["customer_id_missing"]
    assert bad.select(RAW_CUSTOMERS.columns).equals(rows(RAW_CUSTOMERS, change))


@pytest.mark.parametrize(
    ("change", "kept", "warnings"),
    [
        ({"unit_price": None}, {"unit_price": None}, None),
        ({"unit_price": None, "currency": None}, {"unit_price": None, "currency": None}, None),
        ({"unit_price": "NaN"}, {"unit_price": None}, "unit_price_out_of_range"),
        ({"unit_price": "3.505"}, {"unit_price": Decimal("3.505")}, None),
        ({"unit_price": "3.505000001"}, {"unit_price": None}, "unit_price_too_precise"),
        ({"unit_price": "-0.01"}, {"unit_price": None}, "unit_price_negative"),
        ({"currency": None}, {"unit_price": None, "currency": None}, "unit_price_without_currency"),
        ({"currency": "Taler"}, {"unit_price": None, "currency": None}, "currency_not_iso_4217"),
        ({"currency": "rmb"}, {"currency": "CNY"}, None),
        ({"currency": "HRK"}, {"currency": "HRK"}, None),
    ],
)
def test_product_without_usable_price_keeps_its_name(
    change: dict[str, Any], kept: dict[str, Any], warnings: str | None
) -> None:
    good, bad = _products(change)
    assert bad.is_empty()
    price = {} if change.get("unit_price") is None else {"unit_price": Decimal(change["unit_price"])}
    assert good.equals(rows(PRODUCTS, {**change, **price, **kept, "warnings": warnings}))


def test_product_without_its_key_is_quarantined_as_it_came() -> None:
    good, bad = _products({"product_id": "\t"})
    assert good.is_empty()
    assert bad["reasons"].to_list() == ["product_id_missing"]
    assert bad.select(RAW_PRODUCTS.columns).equals(rows(RAW_PRODUCTS, {"product_id": "\t"}))


def test_different_versions_at_one_clock_are_quarantined() -> None:
    later = {"updated_at": at("2020-03-02 12:30")}
    good, bad = _customers({"city": "Paris"}, {"city": "Rome"}, {**later, "city": "Rome"})
    assert good["city"].to_list() == ["Rome"]
    assert bad.select("city", "reasons", "versions").sort("city").rows() == [
        ("Paris", "key_not_unique", 1),
        ("Rome", "key_not_unique", 1),
    ]


def test_deleted_versions_are_marked_and_not_judged() -> None:
    deleted = {"deleted_at": at("2020-03-02 12:00")}
    good, bad = _customers({**deleted, "email": "ada"})
    assert bad.is_empty()
    assert good["is_deleted"].to_list() == [True]
    good, bad = _products({**deleted, "unit_price": "NaN"})
    assert bad.is_empty()
    assert good.select("is_deleted", "unit_price").rows() == [(True, None)]


def test_waived_value_is_kept_without_warning() -> None:
    waiver = Waiver(
        "customers",
        "country_code_not_iso_3166",
        "c1",
        "An embassy",
        "shop",
        on("2020-01-01"),
        on("2020-03-02"),
        at("2020-03-03 00:00"),
    )
    strange = {"country_code": "XX", "email": "ada"}
    versions = on_polars(rows(RAW_CUSTOMERS, strange, {**strange, "customer_id": "c2"}))
    good, bad = cleanse_customers(versions, Calendar(on("2020-01-01"), "UTC"), [waiver])
    assert collected(bad).is_empty()
    assert collected(good).sort("customer_id").select("country_code", "email", "warnings").rows() == [
        ("XX", None, "email_malformed"),
        (None, None, "email_malformed, country_code_not_iso_3166"),
    ]
