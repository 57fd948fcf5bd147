"""What the status says in a word."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from orders_lakehouse.cli.status import Status, TableStatus, show_tables, when, worst_check
from orders_lakehouse.pipeline.failing_requests import RepeatedFailure
from tests.support.rows import at

NOW = datetime(2026, 11, 21, 14, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("instant", "said"),
    [("2026-11-21 00:05", "00:05"), ("2026-11-20 23:59", "11-20"), ("2025-12-31 23:59", "2025-12")],
)
def test_instant_is_as_short_as_its_age_allows(instant: str, said: str) -> None:
    assert when(at(instant), NOW) == said


def results(*rows: tuple[str, str, int | None, bool, str]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (asset, name, None if day is None else date(2017, 3, day), passed, severity)
            for asset, name, day, passed, severity in rows
        ],
        schema={
            "asset": pl.String,
            "check_name": pl.String,
            "date": pl.Date,
            "passed": pl.Boolean,
            "severity": pl.String,
        },
        orient="row",
    )


GOOD = ("cleansed/orders", "orders_contract", 1, True, "ERROR")
WARNED = ("cleansed/orders", "volume", 1, False, "WARN")
OTHER = ("cleansed/payments", "no_row_lost", 1, False, "ERROR")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], ""),
        ([OTHER], ""),
        ([GOOD, OTHER], "ok"),
        ([GOOD, WARNED], "warned volume (1 date)"),
        (
            [
                GOOD,
                WARNED,
                ("cleansed/orders", "orders_contract", 2, False, "ERROR"),
                ("cleansed/orders", "no_row_lost", 1, False, "ERROR"),
                ("cleansed/orders", "no_row_lost", 2, False, "ERROR"),
            ],
            "FAILED no_row_lost (2 dates)",
        ),
        ([("cleansed/orders", "orders_contract", None, False, "ERROR")], "FAILED orders_contract"),
    ],
)
def test_worst_check_is_error_first_then_most_dates(
    rows: list[tuple[str, str, int | None, bool, str]], expected: str
) -> None:
    assert worst_check(results(*rows), "cleansed/orders") == expected


def test_summary_is_silent_without_checks() -> None:
    assert worst_check(results(), "cleansed/orders") == ""
    assert TableStatus("cleansed/orders", 1).worst_check == ""


def test_dates_requested_in_vain_are_shown_below_the_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    day, error = date(2017, 3, 1), "derive [x]: no space left on device"
    one = RepeatedFailure(
        "touched_dates_sensor", "derive_dates_job", day, day, 3, at("2017-06-01 12:00"), "some-run", error
    )
    show_tables(Status([TableStatus("cleansed/orders", 1)], asked_in_vain=[one]))
    said = " ".join(capsys.readouterr().out.split())
    assert "touched_dates_sensor cannot get 2017-03-01: 3 runs of derive_dates_job have failed since" in said
    assert f"{error} " in said
    assert "backfill 2017-03-01 2017-03-01 --job derive_dates_job" in said
    show_tables(Status([TableStatus("cleansed/orders", 1)]))
    assert "cannot get" not in capsys.readouterr().out
