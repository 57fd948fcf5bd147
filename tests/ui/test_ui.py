"""The ways of people in Dagster's UI: ranges of dates, a failing and a corrected check, a mart, the search."""

import pytest

from tests.support.browser import Browser, wait_for
from tests.support.ui import DAY, LakehouseWithUI

pytestmark = pytest.mark.ui

# Seconds in which a run starts and ends.
_RUN = 150.0
_DATES_FIELD = "input[placeholder^='ex: ']"


def launch(tab: Browser, first: str, last: str) -> None:
    """Choose a range of dates in the open dialog, and launch it."""
    tab.click("Show all partitions")
    tab.wait("All time")
    tab.click_on(_DATES_FIELD)
    tab.type(f"[{first}...{last}]")
    tab.press_enter()
    tab.wait("3 partitions")
    tab.click("Launch backfill")
    tab.wait(without="Partition selection")


def require_one_run(tab: Browser, lakehouse: LakehouseWithUI, first: str, last: str) -> None:
    """Require that exactly one run comes for a range, that it succeeds, and that the list of runs says so."""
    dates = f"{first} to {last}"
    wait_for(lambda: set(lakehouse.statuses(dates)) & {"SUCCESS", "FAILURE"}, lambda: f"no run of {dates} ends", _RUN)
    assert lakehouse.statuses(dates) == ["SUCCESS"]
    shown = tab.open(f"{lakehouse.url}/runs?view=runs", f"dates: {dates}", "trigger: backfill in the UI", "Success")
    assert shown.count(f"dates: {dates}") == 1


def test_range_from_the_lineage_is_one_run(lakehouse: LakehouseWithUI, tab: Browser) -> None:
    tab.open(f"{lakehouse.url}/asset-groups", "Materialize all (28)")
    tab.click("Materialize all (28)…")
    tab.wait("Launch runs to materialize 28 assets")
    launch(tab, "2017-01-01", "2017-01-03")
    require_one_run(tab, lakehouse, "2017-01-01", "2017-01-03")
    for key in lakehouse.assets():
        assert lakehouse.materialized(key) == ["2017-01-01 to 2017-01-03"], key


def test_range_from_an_asset_is_one_run(lakehouse: LakehouseWithUI, tab: Browser) -> None:
    tab.open(f"{lakehouse.url}/assets/curated/order_lines", "Materialize…")
    tab.click("Materialize…")
    tab.wait("Launch runs to materialize curated / order_lines")
    launch(tab, "2017-01-04", "2017-01-06")
    require_one_run(tab, lakehouse, "2017-01-04", "2017-01-06")


def test_check_names_failing_dates_until_they_are_corrected(lakehouse: LakehouseWithUI, tab: Browser) -> None:
    check = f"{lakehouse.url}/assets/cleansed/order_items?view=checks&checkDetail=rejected_share"
    broken = "UPDATE shop.order_items SET quantity = {}, updated_at = '{} {}+00' WHERE order_id LIKE 'ui %'"
    lakehouse.change(broken.format(-1, DAY, "11:00"))
    assert lakehouse.run(DAY, DAY) == 1
    tab.resize(1600)
    shown = tab.open(check, "Evaluation result", "failed_dates")
    result = shown[shown.index("Evaluation result") :]
    assert result.split("\n")[1] == "Failed"
    for text in (DAY, "expected", "found", "to_do", "lakehouse backfill"):
        assert text in result, text
    # One of the last events of the run says why it failed.
    tab.open(f"{lakehouse.url}/runs/{lakehouse.last_run()}", "The run fails.", f"failed for 1 date: {DAY}")

    lakehouse.change(broken.format(1, DAY, "12:00"))
    assert lakehouse.run(DAY, DAY) == 0
    shown = tab.open(check, "Evaluation result", "last_good_date")
    result = shown[shown.index("Evaluation result") :]
    assert result.split("\n")[1] == "Passed"
    assert "failed_dates" not in result


def test_mart_shows_rows_sample_chart_and_tests(lakehouse: LakehouseWithUI, tab: Browser) -> None:
    assert lakehouse.run(DAY, DAY) == 0
    tab.resize(3000)
    shown = tab.open(f"{lakehouse.url}/assets/marts/fct_orders", "Row count", "sample", "One row per order")
    for column in ("order_id", "total_price", "fulfilment_state"):
        assert column in shown
    # The SQL is in its file, not in the description.
    assert "Raw SQL" not in shown
    shown = tab.open(f"{lakehouse.url}/assets/marts/fct_orders?view=checks", "Checks (10)", "Succeeded")
    assert "Failed" not in shown


def test_search_finds_a_table(lakehouse: LakehouseWithUI, tab: Browser) -> None:
    tab.open(f"{lakehouse.url}/asset-groups", "Materialize all (28)")
    tab.click("Search")
    tab.type("fct_order_lines")
    tab.wait("marts / fct_order_lines")
