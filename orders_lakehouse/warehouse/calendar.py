"""The calendar that `dim_date` is made of: every day of the shop's years, with the public holidays of a country."""

import polars as pl

from orders_lakehouse.postgres import connect, wait_for_turn
from orders_lakehouse.warehouse.copies import SCHEMA
from orders_lakehouse.warehouse.ingest import ingest

_COLUMNS = ("date", "is_holiday", "holiday_name")


def load_calendar(days: pl.DataFrame) -> None:
    """Replace `lake.calendar` by the given days (date, is_holiday, holiday_name), in one transaction."""
    with connect("warehouse") as connection, connection.cursor() as cursor:
        wait_for_turn(cursor, SCHEMA)
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {SCHEMA}.calendar "
            "(date date PRIMARY KEY, is_holiday boolean NOT NULL, holiday_name text)"
        )
        cursor.execute(f"DELETE FROM {SCHEMA}.calendar")
        ingest(cursor, "calendar", days.select(_COLUMNS), ["date"], mode="append", db_schema_name=SCHEMA)
        connection.commit()
