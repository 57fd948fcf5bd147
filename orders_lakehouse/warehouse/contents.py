"""Count and read rows of marts, for their pages and for the dates on which a test fails."""

from collections.abc import Sequence
from datetime import date

import polars as pl

from orders_lakehouse.postgres.connections import connect, value_of
from orders_lakehouse.settings import settings

# Number of rows from which a table is not counted: Postgres' own estimate, which ANALYZE keeps, costs nothing.
_COUNTED = 1_000_000


def number_of_rows(mart: str) -> int:
    """Return the number of rows of a mart; Postgres' estimate if there are more than a million.

    Raises:
        DatabaseError: The warehouse refuses the statement.
        DatabaseUnavailableError: The warehouse cannot be reached.
    """
    name = f"{settings().marts_schema}.{mart}"
    with connect("warehouse") as connection, connection.cursor() as cursor:
        estimated = int(value_of(cursor, f"SELECT reltuples::bigint FROM pg_class WHERE oid = '{name}'::regclass"))
        return estimated if estimated >= _COUNTED else int(value_of(cursor, f"SELECT count(*) FROM {name}"))


def rows_of_fact_by_date(fact: str, first: date, last: date) -> pl.DataFrame:
    """Return the number of rows of a fact on each date that has some, from a first to a last date.

    Returns:
        date, rows.

    Raises:
        DatabaseError: The warehouse refuses the statement.
        DatabaseUnavailableError: The warehouse cannot be reached.
    """
    with connect("warehouse") as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT to_date(date_id::text, 'YYYYMMDD') AS date, count(*) AS rows "
            f"FROM {settings().marts_schema}.{fact} "
            f"WHERE date_id BETWEEN {first:%Y%m%d} AND {last:%Y%m%d} GROUP BY date_id"
        )
        return pl.DataFrame(cursor.fetch_arrow_table()).cast({"date": pl.Date, "rows": pl.Int64})


def failing_rows_by_date(test: str) -> pl.DataFrame | None:
    """Return the number of rows that a test of a fact selects on each date.

    Args:
        test: The compiled SQL of the test.

    Returns:
        date, rows; None if the test selects no `date_id`.

    Raises:
        DatabaseError: The warehouse refuses the statement.
        DatabaseUnavailableError: The warehouse cannot be reached.
    """
    with connect("warehouse") as connection, connection.cursor() as cursor:
        # The line breaks end a comment in the last line of the test.
        cursor.execute(f"SELECT * FROM (\n{test}\n) AS failing LIMIT 0")
        if "date_id" not in cursor.fetch_arrow_table().column_names:
            return None
        cursor.execute(
            "SELECT to_date(date_id::text, 'YYYYMMDD') AS date, count(*) AS rows "
            f"FROM (\n{test}\n) AS failing GROUP BY date_id"
        )
        return pl.DataFrame(cursor.fetch_arrow_table()).cast({"date": pl.Date, "rows": pl.Int64})


def some_rows(mart: str, columns: Sequence[str], day: date | None, most: int) -> pl.DataFrame:
    """Return a few rows of a mart.

    Args:
        mart: Its name.
        columns: Its columns.
        day: Date of the rows of a fact; None for any rows.
        most: Maximum number of rows.

    Returns:
        The columns, as text.

    Raises:
        DatabaseError: The warehouse refuses the statement.
        DatabaseUnavailableError: The warehouse cannot be reached.
    """
    listed = ", ".join(f"{column}::text AS {column}" for column in columns)
    condition = f" WHERE date_id = {day:%Y%m%d}" if day else ""
    with connect("warehouse") as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {listed} FROM {settings().marts_schema}.{mart}{condition} LIMIT {most}")
        return pl.DataFrame(cursor.fetch_arrow_table()).cast(pl.String)
