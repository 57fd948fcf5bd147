"""What Dagster's UI shows of a check, asked as the UI asks: the worst in force over all dates, whatever ran when."""

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.definitions.asset_health.asset_check_health import get_asset_check_status_and_metadata
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import PythonFileTarget
from dagster_graphql.test.utils import execute_dagster_graphql

from orders_lakehouse.dates import from_words
from orders_lakehouse.defs.checks.check_reporting import VERDICT, report
from orders_lakehouse.defs.checks.in_force import show_after, show_what_is_in_force
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.partitions import run_dates
from orders_lakehouse.runtime.executor import around, threads_executor

pytestmark = pytest.mark.xdist_group("definitions")

TABLE = dg.AssetKey(["cleansed", "orders"])
CHECK = dg.AssetCheckKey(TABLE, "rejected_share")
DAYS = [date(2017, 3, number) for number in range(10, 14)]
# By run: what the check finds on each of its dates, and what happens while its step is at work.
_found: dict[str, dict[date, str]] = {}
_meanwhile: dict[str, Callable[[], object]] = {}
_CHECKS = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode {
      assetChecksOrError {
        ... on AssetChecks {
          checks {
            executionForLatestMaterialization {
              status
              evaluation { severity metadataEntries { label ... on TextMetadataEntry { text } } }
            }
          }
        }
      }
    }
  }
}
"""


@dg.asset(
    key=TABLE,
    partitions_def=dg.DailyPartitionsDefinition("2017-01-01"),
    backfill_policy=dg.BackfillPolicy.single_run(),
)
def orders(context: dg.AssetExecutionContext) -> None:
    """A table of which some runs cannot make their dates."""
    if "broken" in _found[context.run.run_id].values():
        raise dg.Failure("The table could not be made.", allow_retries=False)


@dg.asset_check(asset=orders, name=CHECK.name, blocking=True)
def rejected_share(context: dg.AssetCheckExecutionContext, lake: dg.ResourceParam[Lake]) -> dg.AssetCheckResult:
    """Find what the test says."""
    found = _found[context.run.run_id]
    verdicts = pl.DataFrame(
        [{"date": day, "passed": word == "good", "expected": "good", "found": word} for day, word in found.items()],
        schema=VERDICT,
    )
    result = report(context, lake, CHECK, verdicts, run_dates(context))
    _meanwhile.pop(context.run.run_id, lambda: None)()
    return result


_lake = Lake(os.environ.get("TEST_LAKE", ""), "UTC")
defs = dg.Definitions(
    assets=[orders],
    asset_checks=[rejected_share],
    jobs=[dg.define_asset_job("refresh", selection=dg.AssetSelection.all(include_sources=False))],
    resources={"lake": _lake},
)


class Dagster:
    """Runs that are planned and executed in any order, and what the UI shows."""

    def __init__(self, instance: dg.DagsterInstance, workspace: Any, lake: Lake) -> None:
        self._instance, self._workspace, self._lake = instance, workspace, lake
        self._executor = around(
            threads_executor, after=lambda by, run_id, checks: show_what_is_in_force(by, lake, run_id, checks)
        )

    def plan(self, found: dict[date, str]) -> dg.DagsterRun:
        """Plan a run over some dates, and say what its check will find on each."""
        tags = {
            "dagster/asset_partition_range_start": str(min(found)),
            "dagster/asset_partition_range_end": str(max(found)),
        }
        run = self._instance.create_run_for_job(self._job(), tags=tags)
        _found[run.run_id] = found
        return run

    def execute(self, run: dg.DagsterRun, meanwhile: Callable[[], object] = lambda: None) -> bool:
        """Execute it, and something else once its check has judged and before Dagster is told."""
        _meanwhile[run.run_id] = meanwhile
        return bool(execute_run(InMemoryJob(self._job()), run, self._instance).success)

    def kill(self, run: dg.DagsterRun) -> None:
        """Let it be found that the process of a run is gone."""
        self._instance.report_run_failed(run, "The process that executed this run is gone.")
        show_after(self._instance, self._lake, run.run_id)

    def _job(self) -> dg.JobDefinition:
        resolved = dg.Definitions(
            assets=[orders], asset_checks=[rejected_share], jobs=defs.jobs, resources={"lake": self._lake}
        )
        return resolved.resolve_job_def("refresh").with_executor_def(self._executor)

    def shown(self) -> tuple[str, str, dict[str, str]]:
        """The check on its page (status, metadata), and the health of its table."""
        with self._workspace.create_request_context() as context:
            answer = execute_dagster_graphql(context, _CHECKS, {"key": {"path": TABLE.path}})
            # Dagster answers a question for it with nothing unless it is Dagster+.
            health, _ = asyncio.run(get_asset_check_status_and_metadata(context, TABLE))
        node = answer.data["assetNodeOrError"]
        (check,) = node["assetChecksOrError"]["checks"]
        execution = check["executionForLatestMaterialization"]
        assert execution is not None, "the page says that the check was not executed"
        evaluation = execution["evaluation"]
        status = execution["status"]
        if status == "FAILED" and evaluation["severity"] == "WARN":
            status = "WARNED"
        told = {entry["label"]: entry.get("text", "") for entry in evaluation["metadataEntries"]}
        return status, health.value, told


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    """Dagster with this module as its only code."""
    folder = tmp_path_factory.mktemp("in_force")
    lake = Lake(str(folder / "lake"), "UTC")
    with (
        dg.DagsterInstance.local_temp(str(folder)) as instance,
        create_test_daemon_workspace_context(
            PythonFileTarget(str(Path(__file__)), "defs", None, "this module"), instance
        ) as workspace,
    ):
        yield Dagster(instance, workspace, lake)


def whole(word: str) -> dict[date, str]:
    return dict.fromkeys(DAYS, word)


def test_check_fails_while_it_fails_on_any_date(dagster: Dagster) -> None:
    broken, other, *_ = DAYS
    assert not dagster.execute(dagster.plan(whole("good") | {broken: "bad", other: "bad"}))
    corrected = dagster.plan({other: "good"})

    assert dagster.execute(corrected), "what fails on another date stops no run"

    status, health, told = dagster.shown()
    assert (status, health, failing_dates_in(told)) == ("FAILED", "DEGRADED", [broken])
    assert f"lakehouse backfill {broken} {broken}" in told["to_do"]
    assert dagster.execute(dagster.plan({broken: "good"}))
    assert dagster.shown()[:2] == ("SUCCEEDED", "HEALTHY")


def test_later_run_that_ends_sooner_hides_no_failure(dagster: Dagster) -> None:
    first, second, *_ = DAYS
    sooner, later = dagster.plan({first: "bad"}), dagster.plan({second: "good"})
    assert dagster.execute(later)
    dagster.execute(sooner)
    assert failing_dates_in(dagster.shown()[2]) == [first]

    inner, outer = dagster.plan({second: "bad"}), dagster.plan({first: "good"})
    dagster.execute(outer, meanwhile=lambda: dagster.execute(inner))
    assert failing_dates_in(dagster.shown()[2]) == [second]
    dagster.execute(dagster.plan({second: "good"}))
    assert dagster.shown()[0] == "SUCCEEDED"


def test_run_that_does_not_come_to_judge_hides_nothing(dagster: Dagster) -> None:
    first, second, *_ = DAYS
    dagster.execute(dagster.plan({first: "bad"}))
    assert not dagster.execute(dagster.plan({second: "broken"}))
    status, health, told = dagster.shown()
    assert (status, health, failing_dates_in(told)) == ("FAILED", "DEGRADED", [first])
    dagster.execute(dagster.plan({first: "good"}))


def test_run_that_was_killed_hides_nothing(dagster: Dagster) -> None:
    first, second, *_ = DAYS
    dagster.execute(dagster.plan({first: "bad"}))
    dagster.kill(dagster.plan({second: "good"}))
    status, health, told = dagster.shown()
    assert (status, health, failing_dates_in(told)) == ("FAILED", "DEGRADED", [first])
    dagster.execute(dagster.plan({first: "good"}))


@pytest.mark.parametrize("seed", [2, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in (1, 3, 4, 5, 6))])
def test_worst_check_is_shown_in_any_order_of_runs(dagster: Dagster, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 (no secret)
    in_force = whole("good")
    dagster.execute(dagster.plan(in_force))

    def some_dates() -> dict[date, str]:
        first = chance.randrange(len(DAYS))
        dates = DAYS[first : chance.randrange(first, len(DAYS)) + 1]
        return {day: chance.choice(["good", "good", "bad"]) for day in dates}

    def run(depth: int) -> None:
        planned = [dagster.plan(some_dates()) for _ in range(chance.randint(1, 3))]
        chance.shuffle(planned)
        for each in planned:
            # The check has judged before others do, and Dagster hears of it after.
            def others(each: dg.DagsterRun = each) -> None:
                in_force.update(_found[each.run_id])
                if depth < 2 and chance.random() < 0.5:
                    run(depth + 1)

            dagster.execute(each, meanwhile=others)

    for _ in range(3):
        run(0)
        bad = [day for day, word in in_force.items() if word == "bad"]
        status, health, told = dagster.shown()
        assert (status, health) == (("FAILED", "DEGRADED") if bad else ("SUCCEEDED", "HEALTHY"))
        assert failing_dates_in(told) == bad
    dagster.execute(dagster.plan(whole("good")))
    assert dagster.shown()[:2] == ("SUCCEEDED", "HEALTHY")


def failing_dates_in(told: dict[str, str]) -> list[date]:
    """The dates that a page names as failing: of the run that ran last, and others."""
    words = [told.get(name, "") for name in ("failed_dates", "failing_on_other_dates")]
    return sorted(day for found in words if found for day in from_words(found))
