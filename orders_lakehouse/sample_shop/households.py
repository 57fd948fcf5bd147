"""The shop's customers: real households under made-up names, addresses and birthdays.

Faker is seeded once and asked for the households in the order of their ids, so one version of Faker
always invents the same people. The e-mail domains are those reserved by RFC 2606.
"""

from datetime import date, timedelta

import polars as pl

from orders_lakehouse.sample_shop.complete_journey import NEVER
from orders_lakehouse.sample_shop.draws import draw, draw_duration

_SEED = 8451
_AGED_ON = date(2017, 1, 1)  # the day on which the age brackets hold
_OLDEST = 84


def customers(baskets: pl.DataFrame, demographics: pl.DataFrame) -> pl.DataFrame:
    """Invent a customer for every household that bought something, as the table `shop.customers`.

    Args:
        baskets: household_id, ordered_at.
        demographics: household_id, age (`25-34`, …, `65+`); a household may be missing.

    Returns:
        One row per customer_id, in the order of the numeric ids, registered up to 180 days before the first order.

    Raises:
        ModuleNotFoundError: the extra `local` is not installed.
    """
    key = pl.col("household_id")
    waiting = draw_duration(key, "registered before", timedelta(hours=1), timedelta(days=180))
    households = (
        baskets.group_by("household_id")
        .agg(pl.col("ordered_at").min().alias("first_ordered_at"))
        .join(demographics.select("household_id", "age"), on="household_id", how="left")
        .sort("household_id")
        .with_columns((pl.col("first_ordered_at") - waiting).alias("registered_at"))
    )
    mailbox = pl.concat_str("first_name", "last_name", separator=".").str.to_lowercase().str.replace_all("[^a-z.]", "")
    domain = pl.when(draw(key, "e-mail domain") < 0.7).then(pl.lit("example.com")).otherwise(pl.lit("example.org"))
    return pl.concat([households, _people(households.height)], how="horizontal").select(
        key.cast(pl.String).alias("customer_id"),
        pl.concat_str("first_name", "last_name", separator=" ").alias("full_name"),
        pl.concat_str(mailbox, pl.lit("."), key, pl.lit("@"), domain).alias("email"),
        _date_of_birth(key, pl.col("age")).alias("date_of_birth"),
        "registered_at",
        "address",
        "city",
        "state",
        "postal_code",
        pl.lit("US").alias("country_code"),
        pl.col("registered_at").alias("updated_at"),
        NEVER.alias("deleted_at"),
    )


def _date_of_birth(key: pl.Expr, bracket: pl.Expr) -> pl.Expr:
    """Draw a birthday that puts the household's head inside the bracket, or between 19 and 84 where there is none."""
    youngest = bracket.str.extract(r"^(\d+)").cast(pl.Int64).fill_null(19)
    oldest = bracket.str.extract(r"-(\d+)$").cast(pl.Int64).fill_null(_OLDEST)
    youngest_days = (youngest * 365.25).ceil() + 1
    span = ((oldest + 1) * 365.25).floor() - 1 - youngest_days
    days = (youngest_days + (draw(key, "date of birth") * span).floor()).cast(pl.Int64)
    return (pl.lit(_AGED_ON) - pl.duration(days=days)).cast(pl.Date)


def _people(count: int) -> pl.DataFrame:
    """Invent `count` people: first_name, last_name, address, city, state (two letters), postal_code (of that state)."""
    try:
        from faker import Faker
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "The sample shop's customers are invented by the package `faker`, which is not installed here. "
            "Install the extra `local`: pip install 'orders-lakehouse[local]'",
            name="faker",
        ) from error
    fake = Faker("en_US")
    fake.seed_instance(_SEED)
    columns = ("first_name", "last_name", "address", "city", "state", "postal_code")

    def person() -> tuple[str, ...]:
        state = fake.state_abbr(include_territories=False, include_freely_associated_states=False)
        return (
            fake.first_name(),
            fake.last_name(),
            fake.street_address(),
            fake.city(),
            state,
            fake.postcode_in_state(state),
        )

    return pl.DataFrame([person() for _ in range(count)], schema=dict.fromkeys(columns, pl.String), orient="row")
