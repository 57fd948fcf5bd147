"""Results of checks by date: what the lake stores, what Dagster is told, and how both heal."""

from collections.abc import Sequence
from datetime import date

import dagster as dg
import polars as pl
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.pipeline.check_results import failing, failing_dates, last_good_date, latest
from orders_lakehouse.tables import QUARANTINE_OF
from tests.support.lakehouse import Lakehouse, day, failures

pytestmark = [pytest.mark.slow, pytest.mark.either_engine]

IN_THE_LAKE = "group:raw or group:cleansed or group:curated"
FIRST, BAD, LAST = "2017-01-01", "2017-01-04", "2017-01-08"
CHECK = dg.AssetCheckKey(dg.AssetKey(["cleansed", "order_items"]), "rejected_share")

# Eight dates with an order of thirty lines each; on one of them a load has turned most quantities around.
SHOP = f"""
INSERT INTO shop.products VALUES ('p', 'Tea', 'Food', 'Maker', 3, 'EUR', '2016-12-15', null);
INSERT INTO shop.orders (order_id, ordered_at, status, currency, updated_at)
  SELECT 'o' || n, t, 'paid', 'EUR', t FROM generate_series(0, 7) AS n,
  LATERAL (SELECT timestamptz '2017-01-01 10:00+00' + n * interval '1 day' AS t);
INSERT INTO shop.order_items (order_id, line_number, product_id, quantity, unit_price, discount, updated_at)
  SELECT order_id, line, 'p', CASE WHEN ordered_at::date = '{BAD}' AND line > 5 THEN -1 ELSE 1 END, 3, 0, updated_at
  FROM shop.orders, generate_series(1, 30) AS line;
"""
REPAIR = "UPDATE shop.order_items SET quantity = 1, updated_at = updated_at + interval '1 hour' WHERE quantity < 0"


def told(lakehouse: Lakehouse, check: dg.AssetCheckKey) -> list[tuple[bool, str]]:
    """Dagster's history of a check, the latest first: passed, severity."""
    assert lakehouse.instance is not None
    done = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
    records = lakehouse.instance.event_log_storage.get_asset_check_execution_history(check, limit=9, status=done)
    evaluations = [record.evaluation for record in records]
    return [(found.passed, found.severity.value) for found in evaluations if found is not None]


def summary_of(result: dg.ExecuteInProcessResult, check: dg.AssetCheckKey) -> dg.AssetCheckEvaluation:
    (found,) = [found for found in result.get_asset_check_evaluations() if found.asset_check_key == check]
    return found


def metadata_of(evaluation: dg.AssetCheckEvaluation, name: str) -> object:
    return evaluation.metadata[name].value if name in evaluation.metadata else None


@pytest.mark.long
def test_range_with_a_broken_date(lakehouse: Lakehouse) -> None:
    lakehouse.shop(SHOP)
    lakehouse.oracle.look()

    broken = lakehouse.run(FIRST, LAST, select=IN_THE_LAKE)

    assert not broken.success
    results = latest(lakehouse.lake)
    failed = results.filter(~pl.col("passed"))
    assert failed.select("asset", "check_name", "date", "severity", "expected", "found").rows() == [
        ("cleansed/order_items", "rejected_share", day(BAD), "ERROR", "at most 50% rejected", "25 of 30 rows rejected")
    ]
    of_check = results.filter(pl.col("asset") == "cleansed/order_items", pl.col("check_name") == CHECK.name)
    assert of_check["date"].to_list() == pl.date_range(day(FIRST), day(LAST), eager=True).to_list()
    summary = summary_of(broken, CHECK)
    assert not summary.passed
    assert metadata_of(summary, "failed_dates") == BAD
    assert metadata_of(summary, "last_good_date") == LAST
    (fails,) = summary.metadata["fails"].records  # type: ignore[attr-defined]
    assert (fails.data["date"], fails.data["found"]) == (BAD, "25 of 30 rows rejected")
    assert f"lakehouse backfill {BAD} {BAD}" in str(metadata_of(summary, "to_do"))
    assert told(lakehouse, CHECK) == [(False, "ERROR")]
    assert lakehouse.lake_rows(ORDER_LINES).is_empty()

    around = [
        lakehouse.run(FIRST, "2017-01-03", select=IN_THE_LAKE),
        lakehouse.run("2017-01-05", LAST, select=IN_THE_LAKE),
    ]

    assert [failures(result) for result in around if not result.success] == []
    assert lakehouse.lake_rows(ORDER_LINES)["order_date"].n_unique() == 7
    summary = summary_of(around[1], CHECK)
    assert (summary.passed, summary.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert metadata_of(summary, "failing_on_other_dates") == BAD
    # What is wrong there, and since when, stands on the page whatever ran last.
    assert summary.metadata["fails"].records[0].data == fails.data  # type: ignore[attr-defined]
    assert failing_dates(latest(lakehouse.lake)) == [day(BAD)]

    lakehouse.shop(REPAIR)
    lakehouse.oracle.look()
    repaired = lakehouse.run(BAD, select=IN_THE_LAKE)

    assert repaired.success
    assert failures(repaired) == []
    assert told(lakehouse, CHECK)[0] == (True, "WARN")
    assert "fails" not in summary_of(repaired, CHECK).metadata
    assert failing_dates(latest(lakehouse.lake)) == []
    assert lakehouse.wrong_curated() == {}

    again = lakehouse.run(FIRST, LAST, select=IN_THE_LAKE)
    assert again.success
    assert failures(again) == []
    assert [passed for passed, _ in told(lakehouse, CHECK)] == [True, True, False, False, False]


def test_rows_waiting_for_their_order_do_not_spoil_a_date(lakehouse: Lakehouse) -> None:
    lakehouse.shop(SHOP)
    lakehouse.shop(f"{REPAIR}; UPDATE shop.orders SET updated_at = '2017-02-05' WHERE ordered_at::date = '{BAD}'")
    result = lakehouse.run(FIRST, LAST, select=IN_THE_LAKE)
    assert result.success
    assert lakehouse.lake_rows(QUARANTINE_OF["order_items"])["reasons"].unique().to_list() == ["order_unknown"]


def test_faulty_rows_waiting_for_their_order_spoil_no_date(lakehouse: Lakehouse) -> None:
    lakehouse.shop(SHOP)
    lakehouse.shop(f"""
UPDATE shop.order_items SET quantity = -1 WHERE order_id = 'o3';
UPDATE shop.orders SET updated_at = '2017-02-05' WHERE order_id = 'o3';
INSERT INTO shop.orders (order_id, ordered_at, status, currency, updated_at)
  VALUES ('x', '{BAD} 11:00+00', 'paid', 'EUR', '{BAD} 11:00+00');
INSERT INTO shop.order_items (order_id, line_number, product_id, quantity, unit_price, discount, updated_at)
  VALUES ('x', 1, 'p', 1, 3, 0, '{BAD} 11:00+00');
""")
    result = lakehouse.run(FIRST, LAST, select=IN_THE_LAKE)
    assert failures(result) == []


def test_check_of_a_table_without_dates_has_one_result(lakehouse: Lakehouse) -> None:
    lakehouse.shop(SHOP)
    assert lakehouse.run("2017-01-01", "2017-01-02", select=IN_THE_LAKE).success
    of_profile = latest(lakehouse.lake, asset="curated/customer_profile")
    assert of_profile.select("check_name", "date", "passed").rows() == [("customer_profile_contract", None, True)]


@pytest.mark.thorough
def test_dbt_tests_are_stored_for_each_date(lakehouse: Lakehouse) -> None:
    lakehouse.shop(SHOP + REPAIR)
    assert lakehouse.run("2017-01-01", "2017-01-03").success
    results = latest(lakehouse.lake)
    facts = results.filter(pl.col("asset") == "marts/fct_order_lines", pl.col("check_name") != "total_price_matches")
    assert facts.height > 0
    assert set(facts["date"]) == {day("2017-01-01"), day("2017-01-02"), day("2017-01-03")}
    dimension = results.filter(pl.col("asset") == "marts/dim_customers")
    assert dimension.height > 0
    assert dimension["date"].null_count() == dimension.height
    assert results["passed"].all()


def test_empty_lake_has_no_results(lakehouse: Lakehouse) -> None:
    assert latest(lakehouse.lake).is_empty()
    assert last_good_date(latest(lakehouse.lake)) is None


def test_failure_age_counts_from_first_failing_evaluation() -> None:
    of = {"held": "+-+--", "new": "-", "always": "---", "holds": "-+"}
    evaluated = [
        {"asset": "a", "check_name": name, "date": day(FIRST), "passed": mark == "+", "evaluated_at": at}
        for name, marks in of.items()
        for at, mark in enumerate(marks)
    ]
    found = failing(pl.DataFrame(evaluated).sample(fraction=1, shuffle=True, seed=1))
    assert dict(found.select("check_name", "since").iter_rows()) == {"held": 3, "new": 0, "always": 0}


def rows(*of: tuple[str, bool, str]) -> pl.DataFrame:
    return pl.DataFrame(
        [{"date": date.fromisoformat(on), "passed": passed, "severity": severity} for on, passed, severity in of]
    )


@pytest.mark.parametrize(
    ("results", "bad", "good"),
    [
        ([("2017-01-01", True, "ERROR")], [], "2017-01-01"),
        ([("2017-01-01", True, "ERROR"), ("2017-01-02", False, "ERROR")], ["2017-01-02"], "2017-01-01"),
        ([("2017-01-01", False, "WARN")], [], "2017-01-01"),
        ([("2017-01-02", False, "ERROR"), ("2017-01-02", True, "ERROR")], ["2017-01-02"], None),
    ],
)
def test_good_dates_are_known(results: Sequence[tuple[str, bool, str]], bad: list[str], good: str | None) -> None:
    frame = rows(*results)
    assert failing_dates(frame) == [day(on) for on in bad]
    assert last_good_date(frame) == (day(good) if good else None)
