"""When a version of a dimension matters."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from orders_lakehouse.lake.touched import valid_spans


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
        "UTC",
    )
    assert found.rows() == [("c", on(span[0]), on(span[1]))]


def test_dates_are_those_of_the_time_zone() -> None:
    schema = {"customer_id": pl.String, "updated_at": pl.Datetime("us", "UTC")}
    versions = pl.DataFrame([("c", at(3)), ("c", at(5))], schema=schema, orient="row")
    found = valid_spans(versions.tail(1), versions, "customer_id", "Europe/Berlin")
    assert found.rows() == [("c", date(2017, 1, 6), None)]
