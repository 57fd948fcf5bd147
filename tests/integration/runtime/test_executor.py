"""Steps in threads: two at once and no more, in Dagster's order, and what happens to them is told as ever."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from orders_lakehouse.runtime.executor import STEPS_AT_ONCE, execute_here, threads_executor

WAIT_SECONDS = 20
CONFIGURATION = resources.files("orders_lakehouse").joinpath("dagster.yaml").read_text()


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text(CONFIGURATION)
    with dg.DagsterInstance.get() as made:
        yield made


def run(instance: dg.DagsterInstance, *assets: Any, **more: Any) -> dg.JobExecutionResult:
    job = dg.define_asset_job("all_job", executor_def=threads_executor, **more)
    definitions = dg.Definitions(assets=[one for one in assets if not isinstance(one, dg.AssetChecksDefinition)])
    checks = [one for one in assets if isinstance(one, dg.AssetChecksDefinition)]
    definitions = dg.Definitions.merge(definitions, dg.Definitions(asset_checks=checks, jobs=[job]))
    return execute_here(definitions.resolve_job_def("all_job"), instance)


def made(name: str, work: Any = lambda: None, deps: Sequence[str] = (), **more: Any) -> dg.AssetsDefinition:
    @dg.asset(name=name, deps=list(deps), **more)
    def asset() -> None:
        work()

    return asset


def outcomes(result: dg.JobExecutionResult) -> dict[str, str]:
    kinds = {"STEP_SUCCESS": "done", "STEP_FAILURE": "failed", "STEP_SKIPPED": "skipped"}
    return {str(e.step_key): kinds[e.event_type_value] for e in result.all_events if e.event_type_value in kinds}


def test_two_steps_are_at_work_at_once_and_never_three(instance: dg.DagsterInstance) -> None:
    together = threading.Barrier(STEPS_AT_ONCE)
    lock, at_work, most = threading.Lock(), [0], [0]

    def work() -> None:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        together.wait(timeout=WAIT_SECONDS)
        time.sleep(0.05)
        with lock:
            at_work[0] -= 1

    result = run(instance, *(made(name, work) for name in "abcdef"))

    assert result.success
    assert most == [STEPS_AT_ONCE]
    assert outcomes(result) == dict.fromkeys("abcdef", "done")
    assert instance.get_run_by_id(result.run_id).status == dg.DagsterRunStatus.SUCCESS  # type: ignore[union-attr]


def test_step_waits_for_earlier_ones_and_urgent_goes_first(instance: dg.DagsterInstance) -> None:
    order: list[str] = []
    assets = [
        made("first", lambda: order.append("first")),
        made("aside", lambda: order.append("aside"), deps=["first"], pool="one"),
        made("urgent", lambda: order.append("urgent"), deps=["first"], pool="one", op_tags={"dagster/priority": "1"}),
        made("last", lambda: order.append("last"), deps=["aside", "urgent"]),
    ]
    instance.event_log_storage.set_concurrency_slots("one", 1)
    assert run(instance, *assets).success
    assert order == ["first", "urgent", "aside", "last"]


def test_steps_of_a_pool_with_one_slot_take_turns(instance: dg.DagsterInstance) -> None:
    instance.event_log_storage.set_concurrency_slots("one", 1)
    lock = threading.Lock()

    def alone() -> None:
        assert lock.acquire(blocking=False)
        time.sleep(0.2)
        lock.release()

    result = run(instance, *(made(name, alone, pool="one") for name in "abc"))
    assert result.success
    slots = instance.event_log_storage.get_concurrency_info("one")
    assert (slots.active_slot_count, slots.pending_step_count) == (0, 0)


def test_steps_not_after_a_failed_one_go_on(instance: dg.DagsterInstance) -> None:
    def fail() -> None:
        raise dg.Failure("out of paper", allow_retries=False)

    assets = [made("bad", fail), made("after_bad", deps=["bad"]), made("good"), made("after_good", deps=["good"])]
    result = run(instance, *assets)

    assert not result.success
    assert outcomes(result) == {"bad": "failed", "good": "done", "after_good": "done"}
    (failure,) = [event for event in result.all_events if event.is_step_failure]
    assert failure.step_failure_data.user_failure_data is not None
    assert failure.step_failure_data.user_failure_data.description == "out of paper"


def test_failed_check_keeps_later_steps_from_its_asset(instance: dg.DagsterInstance) -> None:
    @dg.asset_check(asset="stone", blocking=True)
    def is_heavy() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False)

    result = run(instance, made("stone"), made("house", deps=["stone"]), is_heavy)
    assert not result.success
    assert outcomes(result) == {"stone": "done", "stone_is_heavy": "failed"}


def test_step_that_requests_a_retry_is_retried(instance: dg.DagsterInstance) -> None:
    tried: list[int] = []

    def twice() -> None:
        tried.append(1)
        if len(tried) < 2:
            raise dg.RetryRequested(max_retries=2, seconds_to_wait=0.1)

    result = run(instance, made("flaky", twice), made("after", deps=["flaky"]))
    assert result.success
    assert len(tried) == 2
    assert [event.step_key for event in result.all_events if event.is_step_up_for_retry] == ["flaky"]


def test_hooks_are_called_and_output_is_kept(instance: dg.DagsterInstance) -> None:
    told: list[str] = []

    @dg.success_hook
    def tell(context: dg.HookContext) -> None:
        told.append(context.op.name)

    result = run(instance, made("speaks", lambda: print("a word from the step", file=sys.stderr)), hooks={tell})

    assert result.success
    assert told == ["speaks"]
    (captured,) = [event.logs_captured_data for event in result.all_events if event.event_type_value == "LOGS_CAPTURED"]
    key = instance.compute_log_manager.build_log_key_for_run(result.run_id, captured.file_key)
    assert b"a word from the step" in (instance.compute_log_manager.get_log_data(key).stderr or b"")


# Two steps at work, one in Python, one that waits for another process; the third must not begin.
INTERRUPTED = """
import os, subprocess, time
from pathlib import Path
import dagster as dg
from orders_lakehouse.runtime.executor import execute_here, threads_executor

def tell(name, what):
    at_work = Path(os.environ["DAGSTER_HOME"], name)
    at_work.with_suffix(".part").write_text(str(what))
    at_work.with_suffix(".part").rename(at_work)

@dg.asset
def computes():
    tell("computes", "")
    while True:
        time.sleep(0.05)

@dg.asset(pool="one")
def waits():
    child = subprocess.Popen(["sleep", "120"])
    tell("waits", child.pid)
    child.wait()

@dg.asset(deps=[computes, waits])
def after():
    raise AssertionError("it has begun")

if __name__ == "__main__":
    job = dg.define_asset_job("all_job", executor_def=threads_executor)
    defs = dg.Definitions(assets=[computes, waits, after], jobs=[job])
    with dg.DagsterInstance.get() as instance:
        instance.event_log_storage.set_concurrency_slots("one", 1)
        result = execute_here(defs.resolve_job_def("all_job"), instance)
        failed = sorted(str(event.step_key) for event in result.all_events if event.is_step_failure)
        slots = instance.event_log_storage.get_concurrency_info("one")
        print(result.dagster_run.status.value, *failed, slots.active_slot_count)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_that_is_interrupted_ends_with_all_its_steps(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(CONFIGURATION)
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    process = subprocess.Popen(
        [sys.executable, "-u", str(script)],
        env={**os.environ, "DAGSTER_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=(tmp_path / "errors").open("w"),
        text=True,
        start_new_session=True,
    )
    try:
        child = _child_of_both_at_work(tmp_path)
        process.send_signal(number)
        output, _ = process.communicate(timeout=WAIT_SECONDS)
    finally:
        process.kill()
    assert output.splitlines()[-1] == "FAILURE computes waits 0"
    assert not psutil.pid_exists(child)


def _child_of_both_at_work(home: Path) -> int:
    for _ in range(int(WAIT_SECONDS / 0.1) * 3):
        if (home / "computes").exists() and (home / "waits").exists():
            return int((home / "waits").read_text())
        time.sleep(0.1)
    raise AssertionError((home / "errors").read_text())
