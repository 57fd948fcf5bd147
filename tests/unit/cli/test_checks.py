"""How the results of checks are told: dates as stretches, failures by what was found."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

from orders_lakehouse.cli.checks import ChecksError, Selection, select
from orders_lakehouse.pipeline.next_steps import next_steps
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import CHECK_RESULTS


@pytest.fixture(autouse=True)
def called_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("checks", "backfill_request"):
        monkeypatch.setattr(f"orders_lakehouse.cli.{module}.program", lambda: "lakehouse")


DAYS = {number: date(2017, 1, number) for number in range(1, 32)}


def results(*rows: tuple[str, str, int, bool, int]) -> pl.DataFrame:
    """Evaluations: asset, check, day, whether it passed, hour of the evaluation."""
    return pl.DataFrame(
        [
            {
                "asset": asset,
                "check_name": check,
                "date": DAYS[day],
                "passed": passed,
                "severity": "ERROR",
                "run_id": f"run {hour}",
                "evaluated_at": datetime(2017, 2, 1, hour, tzinfo=UTC),
            }
            for asset, check, day, passed, hour in rows
        ],
        schema=CHECK_RESULTS.schema,
    )


ALL = results(
    ("cleansed/orders", "no_row_lost", 1, False, 1),
    ("cleansed/orders", "no_row_lost", 1, True, 2),
    ("cleansed/orders", "rejected_share", 1, False, 2),
    ("raw/orders", "raw_matches_source", 2, True, 1),
    ("raw/order_items", "raw_matches_source", 2, False, 1),
)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Selection(), ["raw_matches_source", "raw_matches_source", "no_row_lost", "rejected_share"]),
        (Selection(failed=True), ["raw_matches_source", "rejected_share"]),
        (Selection(history=True, check="no_row_lost"), ["no_row_lost", "no_row_lost"]),
        (Selection(day=DAYS[1]), ["no_row_lost", "rejected_share"]),
        (Selection(day=DAYS[3]), []),
        (Selection(table="orders"), ["raw_matches_source", "no_row_lost", "rejected_share"]),
        (Selection(table="cleansed.orders"), ["no_row_lost", "rejected_share"]),
        (Selection(table="raw/orders"), ["raw_matches_source"]),
    ],
)
def test_filters_select_results(wanted: Selection, expected: list[str]) -> None:
    assert select(ALL, wanted)["check_name"].to_list() == expected


@pytest.mark.parametrize("wanted", [Selection(table="oders"), Selection(check="no_row_los")])
def test_name_without_results_is_refused_with_known_names(wanted: Selection) -> None:
    with pytest.raises(ChecksError, match=r"no check result of '.+'; there are results of .*(orders|no_row)"):
        select(ALL, wanted)


@pytest.mark.parametrize("wanted", [Selection(failed=True), Selection(table="orders"), Selection(check="no_row_lost")])
def test_nothing_holds_without_results(wanted: Selection) -> None:
    with pytest.raises(ChecksError, match=f"no check has judged anything in {settings().lake_url} yet"):
        select(results(), wanted)


def test_unjudged_date_does_not_hold() -> None:
    with pytest.raises(
        ChecksError, match=r"no check of the selection has judged 2017-01-03 in .*backfill 2017-01-03 2017-01-03"
    ):
        select(ALL, Selection(day=DAYS[3], failed=True))
    # That all of it holds is an answer.
    assert select(ALL, Selection(day=DAYS[1], check="no_row_lost", failed=True)).is_empty()


def failing(check: str, *days: int, severity: str = "ERROR") -> pl.DataFrame:
    """A check that fails on some days, or as a whole."""
    rows = results(*(("cleansed/orders", check, day, False, 1) for day in days or [1]))
    date_ = pl.col("date") if days else pl.lit(None, pl.Date)
    return rows.with_columns(date_.alias("date"), severity=pl.lit(severity))


@pytest.mark.parametrize(
    ("found", "commands", "said"),
    [
        (
            failing("no_row_lost", 1, 2, 5),
            ["backfill 2017-01-01 2017-01-02", "backfill 2017-01-05 2017-01-05"],
            "fixed",
        ),
        (failing("agrees_with_shop", 2), ["backfill 2017-01-02 2017-01-02", "reconcile"], "shop and raw agree"),
        (failing("volume_as_usual", 1, 2), [], "judgement; there is nothing to run"),
        (failing("status_mix_as_usual", 1, severity="WARN"), [], "judgement; there is nothing to run"),
        (
            failing("stands_once", 1, 4, severity="WARN"),
            [f"backfill 2017-01-0{day} 2017-01-0{day} --job derive_dates_job" for day in (1, 4)],
            "A row is on one date again",
        ),
        (failing("keeps_up"), [], "keeps_up is judged again by `freshness_job` alone"),
        (failing("sensors_get_through"), [], "sensors_get_through is judged again by `freshness_job` alone"),
        (failing("customer_profile_contract"), [], "A run of any date evaluates"),
    ],
)
def test_only_helpful_commands_are_proposed(found: pl.DataFrame, commands: list[str], said: str) -> None:
    (*_, last) = told = next_steps(found)
    assert said in last
    lines = [
        line.split("lakehouse ")[1] for paragraph in told for line in paragraph.splitlines() if "lakehouse " in line
    ]
    assert lines == commands


def test_staging_stands_before_the_marts() -> None:
    rows = results(*((f"{layer}/table", "check", 1, True, 1) for layer in ("marts", "staging", "checks", "curated")))
    assert select(rows, Selection())["asset"].str.split("/").list.first().to_list() == [
        "curated",
        "staging",
        "marts",
        "checks",
    ]
