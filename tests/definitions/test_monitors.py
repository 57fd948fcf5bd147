"""What monitors say of a date, and that every check stands in the catalogue."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import narwhals as nw
import polars as pl
import pytest

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.defs.assets.marts import blocked_dates
from orders_lakehouse.defs.checks.monitors import mix_checks, mix_verdicts, volume_checks, volume_verdicts
from orders_lakehouse.defs.sensors import _bad_dates
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.order_items import ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.entities.payments import PAYMENTS
from orders_lakehouse.pipeline.check_results import latest, record
from orders_lakehouse.pipeline.date_queue import Ended
from orders_lakehouse.settings import PROJECT
from orders_lakehouse.tables import CHECK_RESULTS, NOT_BLOCKING, stops
from tests.support.rows import rows

pytestmark = pytest.mark.xdist_group("definitions")

DAY = date(2020, 3, 2)
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| .+ \| (ERROR|WARN|WARN or ERROR) \| (yes|no) \| .+ \|$", re.MULTILINE)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), "UTC")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


(VOLUME_AS_USUAL,) = volume_checks


def captured_until(lake: Lake, day: date) -> None:
    """The shop's clock stands on a date."""
    noon = datetime.combine(day, time(12), UTC)
    lake.append(RAW_ORDERS, rows(RAW_ORDERS, {"captured_on": day, "updated_at": noon, "captured_at": noon}))


def judged(
    lake: Lake, instance: dg.DagsterInstance, check: dg.AssetChecksDefinition, first: date, last: date
) -> tuple[str, dg.AssetCheckEvaluation]:
    """The run in which a check judges some dates, and the summary."""
    definitions = dg.Definitions(
        asset_checks=[check],
        jobs=[dg.define_asset_job("judge", selection=dg.AssetSelection.checks(check))],
        resources={"lake": lake},
    )
    done = definitions.resolve_job_def("judge").execute_in_process(
        instance=instance,
        tags={"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)},
    )
    (summary,) = done.get_asset_check_evaluations()
    return done.run_id, summary


def in_force(lake: Lake, check: str) -> dict[date, tuple[bool, str]]:
    """Whether a check holds, and what it would mean if not, by date."""
    found = latest(lake, check_name=check).select("date", "passed", "severity")
    return {on: (passed, severity) for on, passed, severity in found.iter_rows()}


def test_unusual_date_has_own_severity_and_stays_good(lake: Lake, instance: dg.DagsterInstance) -> None:
    week = timedelta(weeks=1)
    sold = {DAY - number * week: 90 + 20 * (number % 2) for number in range(1, 9)}
    sold |= {DAY: 1000, DAY + week: 250, DAY + 2 * week: 1}
    lake.append(DAILY_SALES, rows(DAILY_SALES, *({"order_date": on, "orders": number} for on, number in sold.items())))
    captured_until(lake, DAY + 2 * week)

    run, summary = judged(lake, instance, VOLUME_AS_USUAL, DAY, DAY + 2 * week)

    said = in_force(lake, "volume_as_usual")
    assert {on: said[on] for on in sold if on in said} == {
        DAY: (False, "ERROR"),
        DAY + week: (False, "WARN"),
        # The shop is still at it.
        DAY + 2 * week: (True, "WARN"),
    }
    # On the days between, nothing is ever sold: that is as usual, and so nothing is said of them.
    assert all(passed for on, (passed, _) in said.items() if on not in sold)
    assert (summary.passed, summary.severity, summary.blocking) == (False, dg.AssetCheckSeverity.ERROR, False)
    assert summary.metadata["failed_dates"].value == str(DAY)
    assert summary.metadata["warned_dates"].value == str(DAY + week)
    assert [found.partition for found in _told(instance, run)] == [None]
    assert _bad_dates(lake, {"sensor:1": (Ended.FAILED, run)}) == {}

    corrected = rows(DAILY_SALES, {"order_date": DAY, "orders": 100})
    lake.replace_dates([DAILY_SALES], DAY, DAY, lambda _: [nw.from_native(corrected.lazy())])
    _, summary = judged(lake, instance, VOLUME_AS_USUAL, DAY, DAY)
    # What another date was found to be stops nobody, and is not forgotten.
    assert (summary.passed, summary.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert summary.metadata["warned_on_other_dates"].value == str(DAY + week)
    assert in_force(lake, "volume_as_usual")[DAY][0]


def test_non_blocking_check_leaves_no_date_out(lake: Lake) -> None:
    bad, told = DAY, DAY + timedelta(days=1)
    found = [
        (ORDER_LINES, "order_lines_contract", bad),
        (ORDER_ITEMS, "total_price_as_in_shop", told),
        # What no fact is made of.
        (DAILY_SALES, "daily_sales_contract", told),
    ]
    said = {"passed": False, "severity": "ERROR", "run_id": "a run", "evaluated_at": datetime.now(UTC)}
    given = [{"asset": table.path, "check_name": name, "date": on, **said} for table, name, on in found]
    record(lake, pl.DataFrame(given, schema=CHECK_RESULTS.schema))
    assert blocked_dates(lake) == [bad]
    assert _bad_dates(lake, {"sensor:1": (Ended.FAILED, "a run")}) == {"sensor:1": [bad, told]}


def _told(instance: dg.DagsterInstance, run: str) -> list[dg.AssetCheckEvaluation]:
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    events = [entry.get_dagster_event() for entry in instance.all_logs(run, of_type=kind)]
    return [event.asset_check_evaluation_data for event in events]


def with_mix(lake: Lake, table: Table, column: str, mix: dict[date, str]) -> None:
    """Three hundred rows of a value on each date."""
    given = [
        {table.key[0]: f"{on} {number}", "order_date": on, column: value}
        for on, value in mix.items()
        for number in range(300)
    ]
    lake.append(table, rows(table, *given))


@pytest.mark.parametrize(
    ("table", "column", "usual", "new", "age", "passed"),
    [
        (PAYMENTS, "method", "card", "cash", 1, False),
        (PAYMENTS, "method", "card", "cash", 0, True),
        (PAYMENTS, "method", "card", "card", 1, True),
        (ORDERS, "status", "delivered", "placed", 28, True),
        (ORDERS, "status", "delivered", "placed", 29, False),
    ],
)
def test_mix_is_judged_once_the_date_is_old_enough(
    lake: Lake,
    instance: dg.DagsterInstance,
    table: Table,
    column: str,
    usual: str,
    new: str,
    age: int,
    passed: bool,
) -> None:
    with_mix(lake, table, column, {DAY - timedelta(days=28): usual, DAY: new})
    captured_until(lake, DAY + timedelta(days=age))
    (check,) = [one for one in mix_checks if one.check_key.name == f"{column}_mix_as_usual"]
    _, summary = judged(lake, instance, check, DAY - timedelta(days=1), DAY)
    assert in_force(lake, f"{column}_mix_as_usual")[DAY] == (passed, "WARN")
    assert summary.passed is passed


def test_nothing_is_judged_before_the_first_capture(lake: Lake, instance: dg.DagsterInstance) -> None:
    _, summary = judged(lake, instance, VOLUME_AS_USUAL, DAY, DAY)
    assert summary.passed


def beside(score: float, currency: str = "EUR") -> dict[str, Any]:
    """Orders that are so many deviations from the usual."""
    usual = {"usual": 100.0, "deviation": 0.1, "weekdays": 8, "value": 100 + 10 * score}
    return {"order_date": DAY, "currency": currency, "measure": "orders", **usual, "score": float(score)}


@pytest.mark.parametrize(
    ("score", "severity"),
    [(0, None), (4, None), (-4, None), (4.1, "WARN"), (-10, "WARN"), (10.1, "ERROR"), (-40, "ERROR")],
)
def test_volume_score_decides_the_severity(score: float, severity: str | None) -> None:
    said = volume_verdicts(pl.DataFrame([beside(score)]), "currency").select("date", "passed", "severity").rows()
    assert said == ([] if severity is None else [(DAY, False, severity)])


def test_worst_value_of_a_date_counts_and_usual_is_silent() -> None:
    found = volume_verdicts(pl.DataFrame([beside(5), beside(-11, "USD"), beside(0, "CHF")]), "currency")
    (said,) = found.to_dicts()
    assert said["severity"] == "ERROR"
    assert said["expected"] == "EUR orders about 100 (give or take 10 %); USD orders about 100 (give or take 10 %)"
    assert said["found"] == "EUR orders 150 (5 deviations); USD orders -10 (-11 deviations)"


def shift(value: str, rows: int, rows_before: int, index: float, *, is_gone: bool = False) -> dict[str, Any]:
    counts = {"rows": rows, "rows_before": rows_before, "total": 1_000, "total_before": 10_000}
    return {"date": DAY, "value": value, "is_gone": is_gone, **counts, "shift": index}


def test_mix_that_shifted_names_what_moved_most() -> None:
    shifts = [shift("cash", 100, 2_000, 0.1), shift("card", 100, 6_000, 0.3), shift("paypal", 800, 2_000, 0.2)]
    (said,) = mix_verdicts(pl.DataFrame(shifts)).to_dicts()
    assert (said["passed"], said["found"]) == (False, "0.6 over 1000 rows")
    assert said["detail"].startswith(
        "largest shifts: card 10.0 % (usually 60.0 %), paypal 80.0 % (usually 20.0 %), cash 10.0 % (usually 20.0 %);"
    )


def test_value_that_is_gone_fails_within_a_stable_mix() -> None:
    shifts = [
        shift("card", 1_000, 9_000, 0.05),
        shift("cash", 0, 300, 0.02, is_gone=True),
        shift("paypal", 0, 700, 0.04, is_gone=True),
    ]
    (said,) = mix_verdicts(pl.DataFrame(shifts)).to_dicts()
    assert not said["passed"]
    assert said["found"] == "0.11 over 1000 rows; none of paypal (usually 70); none of cash (usually 30)"
    assert said["detail"].startswith("largest shifts: paypal 0.0 % (usually 7.0 %), cash 0.0 %")


def test_usual_mix_passes_silently() -> None:
    (said,) = mix_verdicts(pl.DataFrame([shift("card", 500, 5_500, 0.25)])).to_dicts()
    assert (said["passed"], said["detail"]) == (True, None)
    assert said["found"] == "0.25 over 1000 rows"


def test_catalogue_lists_exactly_the_defined_checks() -> None:
    from orders_lakehouse.definitions import defs

    graph = defs.resolve_asset_graph()
    declared = {(key.asset_key.to_user_string(), key.name): graph.get(key).blocking for key in graph.asset_check_keys}
    page = PROJECT.joinpath("docs", "checks.md").read_text()
    told = {
        (asset, check): blocking == "yes"
        for check, assets, _, blocking in ROW.findall(page)
        for asset in re.findall(r"`(\w+/\w+)`", assets)
    }
    assert told == declared
    assert {check: stops(*check) for check in declared} == declared
    assert {name for _, name in declared} >= NOT_BLOCKING
