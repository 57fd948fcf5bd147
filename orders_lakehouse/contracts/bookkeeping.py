"""Contracts of the tables that the lakehouse keeps for itself: index of raw, calendar, results of checks."""

import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract
from orders_lakehouse.contracts.checks import SEVERITIES
from orders_lakehouse.contracts.types import Instant


class KeyDates(Contract):
    """Index of raw: which capture dates hold the versions of an order's rows.

    A superset of raw: it is written before raw is, and a row without its version is harmless.
    """

    table_name: pl.String = pa.Field(description="Raw table of the version")
    key: pl.String = pa.Field(
        nullable=True, description="By which a row's history is found: order_id, for payments payment_id"
    )
    order_id: pl.String = pa.Field(nullable=True, description="Order that the version is, or names")
    captured_on: pl.Date = pa.Field(description="Partition of the raw table that holds the version")
    order_date: pl.Date = pa.Field(nullable=True, description="Date the version of an order counts at; null for others")


class SourceColumns(Contract):
    """The shape of the source: a row for each column whose type was not the one it had when it was last looked at.

    Every column has one under each version of its raw table's contract: the shape that this version was made for.
    """

    table_name: pl.String = pa.Field(description="Raw table that the column is captured for")
    column_name: pl.String = pa.Field(description="Name of the column in the source")
    source_type: pl.String = pa.Field(nullable=True, description="Type in the source; null when the column is gone")
    raw_column: pl.String = pa.Field(description="Column of the raw table that holds it")
    contract_version: pl.String = pa.Field(description="Version of the raw table's contract at that time")
    seen_at: Instant = pa.Field(description="The source's now() when it was seen so first")
    run_id: pl.String = pa.Field(description="Run that saw it")


class Calendar(Contract):
    """When each date begins in the lake's time zone, and public holidays: written once, and read by everybody.

    A year's holidays are null until the warehouse needs them.
    """

    date: pl.Date = pa.Field(description="Date in the lake's time zone, from 1900 to 2100")
    begins_at: Instant = pa.Field(
        description="Its first instant: midnight; where the clock leaves midnight out, the instant at which it does"
    )
    zone_data: pl.String = pa.Field(description="Version of the time zone data that begins_at was made of")
    is_holiday: pl.Boolean = pa.Field(nullable=True, description="Whether it is a public holiday; null: not known yet")
    holiday_name: pl.String = pa.Field(nullable=True, description="Name of the holiday; null on other days")
    holidays_country: pl.String = pa.Field(nullable=True, description="Country of the holidays, ISO 3166-1 alpha-2")
    holidays_data: pl.String = pa.Field(nullable=True, description="Version of the data that holidays were made of")


class CheckResults(Contract):
    """Every evaluation of every check, by date; the latest one of a check and date is in force."""

    asset: pl.String = pa.Field(description="Checked table, layer/name")
    check_name: pl.String = pa.Field(description="Name of the check")
    date: pl.Date = pa.Field(
        nullable=True, description="Partition that was judged; null where the table is judged as a whole"
    )
    passed: pl.Boolean = pa.Field(description="Whether the check held")
    severity: pl.String = pa.Field(isin=SEVERITIES, description="What a failure means: ERROR or WARN")
    expected: pl.String = pa.Field(nullable=True, description="What the check expected, for people")
    found: pl.String = pa.Field(nullable=True, description="What it found instead, for people")
    detail: pl.String = pa.Field(nullable=True, description="Which rows or rules, as a bounded sample")
    run_id: pl.String = pa.Field(description="Run that evaluated the check")
    evaluated_at: Instant = pa.Field(description="When it was evaluated")
