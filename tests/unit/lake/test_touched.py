"""When a version of a dimension matters, and which rows are new."""

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.tables import RAW_ORDER_ITEMS, RAW_ORDERS, RAW_PAYMENTS
from orders_lakehouse.lake.capture import capture
from orders_lakehouse.lake.delta import Lake
from orders_lakehouse.lake.touched import touched_dates, valid_spans, versions_now
from tests.unit import rows
from tests.unit.calendars import calendar_in


def at(number: int) -> datetime:
    return datetime(2017, 1, number, 23, 30, tzinfo=UTC)


def on(number: int | None) -> date | None:
    return None if number is None else date(2017, 1, number)


@pytest.mark.parametrize(
    ("changed", "valid", "span"),
    [
        # The only version, appeared or gone.
        (3, [3], (None, None)),
        (3, [], (None, None)),
        # The first one of several.
        (3, [3, 7], (None, 7)),
        (3, [7], (None, 7)),
        # One in between, and the last one.
        (5, [3, 5, 7], (5, 7)),
        (5, [3, 7], (5, 7)),
        (7, [3, 7], (7, None)),
    ],
)
def test_a_version_matters_from_its_clock_to_the_next_valid_one(
    changed: int, valid: list[int], span: tuple[int | None, int | None]
) -> None:
    schema = {"customer_id": pl.String, "updated_at": pl.Datetime("us", "UTC")}
    found = valid_spans(
        pl.DataFrame([("c", at(changed))], schema=schema, orient="row"),
        pl.DataFrame([("c", at(number)) for number in valid], schema=schema, orient="row"),
        "customer_id",
        calendar_in("UTC"),
    )
    assert found.rows() == [("c", on(span[0]), on(span[1]))]


def test_dates_are_those_of_the_time_zone() -> None:
    schema = {"customer_id": pl.String, "updated_at": pl.Datetime("us", "UTC")}
    versions = pl.DataFrame([("c", at(3)), ("c", at(5))], schema=schema, orient="row")
    found = valid_spans(versions.tail(1), versions, "customer_id", calendar_in("Europe/Berlin"))
    assert found.rows() == [("c", date(2017, 1, 6), None)]


def test_of_a_table_that_was_made_anew_all_rows_are_new(tmp_path: Path) -> None:
    lake, calendar = Lake(str(tmp_path / "lake"), "UTC"), Calendar(date(2017, 1, 1), "UTC")
    for table in (RAW_ORDERS, RAW_ORDER_ITEMS, RAW_PAYMENTS):
        lake.open(table)
    capture(lake, RAW_ORDERS, rows.rows(RAW_ORDERS, {}), calendar)
    marks = versions_now(lake)
    assert touched_dates(lake, marks, calendar) == []
    # As cursors had it before.
    assert touched_dates(lake, {path: version for path, (_, version) in marks.items()}, calendar) == []

    shutil.rmtree(lake.location(RAW_ORDERS))
    lake = Lake(str(tmp_path / "lake"), "UTC")
    capture(lake, RAW_ORDERS, rows.rows(RAW_ORDERS, {}, {"order_id": "o2"}), calendar)
    again = versions_now(lake)
    assert again != marks
    assert again[RAW_ORDERS.path][1] == marks[RAW_ORDERS.path][1]
    assert touched_dates(lake, marks, calendar) == [rows.on("2020-03-02")]
