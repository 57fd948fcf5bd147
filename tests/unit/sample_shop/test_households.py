import sys
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from orders_lakehouse.sample_shop.households import customers

FIRST_ORDERED_AT = datetime(2017, 1, 20, tzinfo=UTC)
LIMITS: dict[str | None, tuple[int, int]] = {
    "19-24": (19, 24),
    "25-34": (25, 34),
    "35-44": (35, 44),
    "45-54": (45, 54),
    "55-64": (55, 64),
    "65+": (65, 84),
    None: (19, 84),
}
BRACKETS = [bracket for bracket in LIMITS if bracket]
HOUSEHOLDS = 140  # of each bracket, and as many without


@pytest.fixture(scope="module")
def baskets() -> pl.DataFrame:
    ids = pl.int_range(1, HOUSEHOLDS * (len(BRACKETS) + 1) + 1)
    first = pl.select(
        ids.alias("household_id"), pl.lit(FIRST_ORDERED_AT, dtype=pl.Datetime("us", "UTC")).alias("ordered_at")
    )
    return pl.concat([first.with_columns(pl.col("ordered_at") + pl.duration(days=30)), first])


@pytest.fixture(scope="module")
def demographics() -> pl.DataFrame:
    ages = pl.Series("age", [bracket for bracket in BRACKETS for _ in range(HOUSEHOLDS)])
    return pl.select(pl.int_range(1, len(ages) + 1).alias("household_id")).with_columns(ages)


@pytest.fixture(scope="module")
def people(baskets: pl.DataFrame, demographics: pl.DataFrame) -> pl.DataFrame:
    return customers(baskets, demographics)


def test_every_household_is_one_customer_in_the_order_of_the_ids(people: pl.DataFrame) -> None:
    assert people["customer_id"].to_list() == [str(n) for n in range(1, people.height + 1)]
    assert people.height == HOUSEHOLDS * (len(BRACKETS) + 1)


def test_two_builds_are_identical(people: pl.DataFrame, baskets: pl.DataFrame, demographics: pl.DataFrame) -> None:
    assert_frame_equal(customers(baskets.reverse(), demographics.reverse()), people)


def test_customers_register_in_the_half_year_before_first_order(people: pl.DataFrame) -> None:
    waited = FIRST_ORDERED_AT - people["registered_at"]
    assert waited.is_between(timedelta(hours=1), timedelta(days=180)).all()
    assert (people["updated_at"] == people["registered_at"]).all()


def test_birthdays_fall_into_the_age_brackets(people: pl.DataFrame, demographics: pl.DataFrame) -> None:
    born = pl.col("date_of_birth")
    birthday_is_1_january = (born.dt.month() == 1) & (born.dt.day() == 1)
    age = 2017 - born.dt.year() - pl.when(birthday_is_1_january).then(0).otherwise(1)
    keyed = demographics.with_columns(pl.col("household_id").cast(pl.String).alias("customer_id"))
    aged = people.join(keyed, on="customer_id", how="left").with_columns(age.alias("years"))
    found = {
        bracket: (youngest, oldest)
        for bracket, youngest, oldest in aged.group_by("age")
        .agg(pl.col("years").min().alias("youngest"), pl.col("years").max().alias("oldest"))
        .iter_rows()
    }
    for bracket, (youngest, oldest) in LIMITS.items():
        assert youngest <= found[bracket][0] <= found[bracket][1] <= oldest, bracket
    assert (people["date_of_birth"] < date(1998, 1, 1)).all()


def test_e_mail_addresses_are_unique_and_reach_nobody(people: pl.DataFrame) -> None:
    emails = people["email"]
    assert emails.str.contains(r"^[a-z]+\.[a-z]+\.[0-9]+@example\.(com|org)$").all()
    assert emails.n_unique() == people.height


def test_addresses_are_american(people: pl.DataFrame) -> None:
    assert (people["country_code"] == "US").all()
    assert people["state"].str.contains("^[A-Z]{2}$").all()
    assert people["postal_code"].str.contains("^[0-9]{5}$").all()
    assert people.select("full_name", "address", "city").null_count().sum_horizontal().item() == 0


def test_without_faker_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, baskets: pl.DataFrame, demographics: pl.DataFrame
) -> None:
    monkeypatch.setitem(sys.modules, "faker", None)
    with pytest.raises(ModuleNotFoundError, match=r"orders-lakehouse\[local\]"):
        customers(baskets, demographics)
