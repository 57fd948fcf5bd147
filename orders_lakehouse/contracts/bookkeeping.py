"""Contracts of the lakehouse's own tables: index of raw, columns of the source, calendar, results of checks."""

import pandera.polars as pa
import polars as pl

from orders_lakehouse.contracts.base import Contract
from orders_lakehouse.contracts.checks import SEVERITIES
from orders_lakehouse.contracts.types import Instant


class KeyDates(Contract):
    """Index of raw: the capture dates that hold the versions of an order's rows.

    It is a superset of raw: entries are written before the versions, and an entry without its version is harmless.
    """

    table_name: pl.String = pa.Field(description="Raw table of the version")
    key: pl.String = pa.Field(
        nullable=True, description="Key by which a row's versions are found: order_id, for payments payment_id"
    )
    order_id: pl.String = pa.Field(nullable=True, description="Order that is the version, or that the version names")
    captured_on: pl.Date = pa.Field(description="Partition of the raw table that holds the version")
    order_date: pl.Date = pa.Field(
        nullable=True, description="Date at which the version of an order counts; null for others"
    )


class SourceColumns(Contract):
    """The shape of the source: a row for each column whose type differs from the one seen before.

    Every column has a row for each version of its raw table's contract: the shape that this version was made for.
    """

    table_name: pl.String = pa.Field(description="Raw table that the column is captured for")
    column_name: pl.String = pa.Field(description="Name of the column in the source")
    source_type: pl.String = pa.Field(nullable=True, description="Type in the source; null when the column is gone")
    raw_column: pl.String = pa.Field(description="Column of the raw table that holds it")
    contract_version: pl.String = pa.Field(description="Version of the raw table's contract at that time")
    seen_at: Instant = pa.Field(description="The source's now() when the column was first seen with this type")
    run_id: pl.String = pa.Field(description="Run that saw it")


class Calendar(Contract):
    """First instant of each date in the lake's time zone, and public holidays. The table is written once.

    A year's holidays are null until the warehouse needs them.
    """

    date: pl.Date = pa.Field(description="Date in the lake's time zone, from 1900 to 2100")
    begins_at: Instant = pa.Field(
        description="First instant of the date: midnight, or the instant of the change where the clock skips midnight"
    )
    zone_data: pl.String = pa.Field(description="Version of the time zone data that begins_at comes from")
    is_holiday: pl.Boolean = pa.Field(nullable=True, description="Whether it is a public holiday; null: not known yet")
    holiday_name: pl.String = pa.Field(nullable=True, description="Name of the holiday; null on other days")
    holidays_country: pl.String = pa.Field(nullable=True, description="Country of the holidays, ISO 3166-1 alpha-2")
    holidays_data: pl.String = pa.Field(nullable=True, description="Version of the data that the holidays come from")


class CheckResults(Contract):
    """Every evaluation of every check, by date; the latest one of a check and date is in force."""

    asset: pl.String = pa.Field(description="Checked table, layer/name")
    check_name: pl.String = pa.Field(description="Name of the check")
    date: pl.Date = pa.Field(
        nullable=True, description="Partition that was checked; null for a check of the whole table"
    )
    passed: pl.Boolean = pa.Field(description="Whether the check held")
    severity: pl.String = pa.Field(isin=SEVERITIES, description="Severity of a failure: ERROR or WARN")
    expected: pl.String = pa.Field(nullable=True, description="Expected result, in words")
    found: pl.String = pa.Field(nullable=True, description="Actual result, in words")
    detail: pl.String = pa.Field(nullable=True, description="Sample of the rows or rules concerned")
    run_id: pl.String = pa.Field(description="Run that evaluated the check")
    evaluated_at: Instant = pa.Field(description="When it was evaluated")
