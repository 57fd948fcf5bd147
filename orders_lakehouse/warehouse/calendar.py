"""The calendar that `dim_date` is made of: every day of the shop's years, with the public holidays of a country."""

from datetime import date

import polars as pl

from orders_lakehouse.postgres import DatabaseError, connect, wait_for_turn
from orders_lakehouse.warehouse.copies import SCHEMA
from orders_lakehouse.warehouse.ingest import ingest


def calendar_days(first: date, last: date, country: str) -> pl.DataFrame:
    """Days and holidays.

    Args:
        first: First day.
        last: Last day.
        country: ISO 3166 alpha-2.

    Returns:
        date, is_holiday, holiday_name (null on other days), one row a day.

    Raises:
        DatabaseError: The country's holidays are not known.
    """
    import holidays

    try:
        known = holidays.country_holidays(country, years=range(first.year, last.year + 1))
    except NotImplementedError:
        raise DatabaseError(
            f"LAKEHOUSE_HOLIDAYS_COUNTRY={country!r}: the holidays of that country are not known; expected one of "
            f"{', '.join(sorted(holidays.list_supported_countries()))}"
        ) from None
    named = pl.DataFrame(
        {"date": list(known.keys()), "holiday_name": list(known.values())},
        schema={"date": pl.Date, "holiday_name": pl.String},
    )
    return (
        pl.DataFrame({"date": pl.date_range(first, last, eager=True)})
        .join(named, on="date", how="left", maintain_order="left")
        .select("date", is_holiday=pl.col("holiday_name").is_not_null(), holiday_name="holiday_name")
    )


def load_calendar(days: pl.DataFrame) -> None:
    """Replace `lake.calendar` by the given days, in one transaction."""
    with connect("warehouse") as connection, connection.cursor() as cursor:
        wait_for_turn(cursor, SCHEMA)
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {SCHEMA}.calendar "
            "(date date PRIMARY KEY, is_holiday boolean NOT NULL, holiday_name text)"
        )
        cursor.execute(f"DELETE FROM {SCHEMA}.calendar")
        ingest(cursor, "calendar", days, ["date"], mode="append", db_schema_name=SCHEMA)
        connection.commit()
