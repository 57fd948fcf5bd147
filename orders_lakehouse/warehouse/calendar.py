"""The calendar for `dim_date` of dbt: every day of the shop's years, with the public holidays of a country."""

import polars as pl

from orders_lakehouse.postgres.connections import connect, value_of
from orders_lakehouse.warehouse.copies import lake_schema
from orders_lakehouse.warehouse.ingest import ingest
from orders_lakehouse.warehouse.ownership import register, require_ours

_COLUMNS = ("date", "is_holiday", "holiday_name")


def load_calendar(days: pl.DataFrame) -> None:
    """Replace `lake.calendar` by the given days (date, is_holiday, holiday_name), in one transaction."""
    schema = lake_schema()
    with connect("warehouse") as connection, connection.cursor() as cursor:
        require_ours(cursor)
        if value_of(cursor, f"SELECT to_regclass('{schema}.calendar')::text") is None:
            cursor.execute(
                f"CREATE TABLE {schema}.calendar "
                "(date date PRIMARY KEY, is_holiday boolean NOT NULL, holiday_name text)"
            )
            register(cursor, schema, "calendar")
        cursor.execute(f"DELETE FROM {schema}.calendar")
        ingest(cursor, "calendar", days.select(_COLUMNS), ["date"], mode="append", db_schema_name=schema)
        connection.commit()
