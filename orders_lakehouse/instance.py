"""Dagster's instance under LAKEHOUSE_HOME, and a run of a job in this process with its progress on the terminal."""

import fcntl
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

import dagster as dg

from orders_lakehouse.dates import from_words
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.executor import execute_here
from orders_lakehouse.liveness import fail_dead_runs, signature_tags
from orders_lakehouse.settings import settings

_POLL_SECONDS = 0.5
_LIVENESS_SECONDS = 10
# Runs of one dbt project collide on temporary tables. A limit that is set holds between processes, a default does not.
_POOLS = {"dbt": 1}


class BackfillError(ExpectedError):
    """A backfill cannot start, or failed."""


@dataclass(frozen=True)
class CheckOutcome:
    """What a check of a run said.

    Attributes:
        passed: Whether it holds.
        severity: ERROR or WARN.
        failed_dates: Dates (ISO 8601) on which it does not hold, as far as dates tell.
        blocking: Whether it stops its run.
        accounts: Of a check that keeps accounts, the number of versions in each.
    """

    passed: bool
    severity: str = "ERROR"
    failed_dates: tuple[str, ...] = ()
    blocking: bool = True
    accounts: Mapping[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Whether it does not hold, and that is an error."""
        return not self.passed and self.severity == "ERROR"


@dataclass
class Outcome:
    """What a run did.

    Attributes:
        run_id: Dagster's id of the run.
        success: Whether every step and every blocking check succeeded.
        seconds: Seconds by step.
        checks: Asset (`layer/name`) and check name to what the check said of all dates.
        errors: Messages of steps that failed for another reason than a check.
    """

    run_id: str
    success: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    checks: dict[tuple[str, str], CheckOutcome] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        """The same as plain data; checks are a list, with asset and check in each."""
        checks = [
            {"asset": asset, "check": name, **asdict(check)} for (asset, name), check in sorted(self.checks.items())
        ]
        return {**vars(self), "checks": checks}


def prepare_instance() -> str:
    """Make Dagster's home with its configuration and pools; returns it, and sets DAGSTER_HOME for this process."""
    home = settings().dagster_home
    home.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home)
    configuration = home / "dagster.yaml"
    if not configuration.exists():
        configuration.write_text(resources.files("orders_lakehouse").joinpath("dagster.yaml").read_text())
    # One at a time: two processes that make the SQLite files at once can leave a home that no run can use.
    with (home / "making.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _make_instance()
    return str(home)


def _make_instance() -> None:
    with dg.DagsterInstance.get() as instance:
        storage = instance.event_log_storage
        known = storage.get_concurrency_keys()
        for pool, slots in _POOLS.items():
            if pool not in known:
                storage.set_concurrency_slots(pool, slots)
        fail_dead_runs(instance)


def run_range(job_name: str, first: date, last: date, progress: Callable[[str, str, float], None]) -> Outcome:
    """Run a job over a range of dates, as one run in this process.

    Args:
        job_name: Name of the job.
        first: First date.
        last: Last date.
        progress: Called with step, what happened (started, done, failed, retrying) and its seconds.

    Returns:
        What the run did.

    Raises:
        BackfillError: The range is not within the partitions.
    """
    from orders_lakehouse.definitions import defs

    jobs = sorted(job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__"))
    if job_name not in jobs:
        raise BackfillError(f"there is no job {job_name!r}; the jobs are {', '.join(jobs)}")
    return run_job(job_name, progress, _range_tags(first, last))


def run_selection(
    selection: dg.AssetSelection, first: date, last: date, progress: Callable[[str, str, float], None]
) -> Outcome:
    """Run some assets and checks over a range of dates; `run_range` for what no job selects."""
    from orders_lakehouse.definitions import defs
    from orders_lakehouse.partitions import DAILY

    job = dg.define_asset_job("selected_job", selection=selection, partitions_def=DAILY)
    return _run(dg.Definitions.merge(defs, dg.Definitions(jobs=[job])), job.name, progress, _range_tags(first, last))


def _range_tags(first: date, last: date) -> dict[str, str]:
    from orders_lakehouse.partitions import DAILY, range_tags

    keys = DAILY.get_partition_keys()
    if not keys:
        raise BackfillError(
            f"there are no partitions yet: LAKEHOUSE_START_DATE is {settings().start_date}, after today"
        )
    if first > last:
        raise BackfillError(f"the range is empty: found {first} to {last}; expected the first date first")
    outside = [day for day in (first, last) if not keys[0] <= day.isoformat() <= keys[-1]]
    if outside:
        raise BackfillError(
            f"{outside[0]} is no partition; expected dates from {keys[0]} (LAKEHOUSE_START_DATE) to {keys[-1]}"
        )
    return range_tags(first, last)


def run_job(
    job_name: str, progress: Callable[[str, str, float], None], tags: Mapping[str, str] | None = None
) -> Outcome:
    """Run a job in this process; `run_range` for one that knows dates."""
    from orders_lakehouse.definitions import defs

    return _run(defs, job_name, progress, tags or {})


def _run(
    defs: dg.Definitions, job_name: str, progress: Callable[[str, str, float], None], tags: Mapping[str, str]
) -> Outcome:
    from orders_lakehouse.defs.resources import EXECUTOR_HERE

    prepare_instance()
    with dg.DagsterInstance.get() as instance:
        outcome = Outcome(run_id=str(uuid.uuid4()))
        with _watching(instance, outcome, progress), _output_to(_log_file(outcome)):
            result = execute_here(
                defs.resolve_job_def(job_name).with_executor_def(EXECUTOR_HERE),
                instance,
                run_id=outcome.run_id,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                tags={**signature_tags(outcome.run_id), **tags},
            )
        outcome.success = result.success
        _read_events(instance, outcome)
    return outcome


def _log_file(outcome: Outcome) -> Path:
    """Where what dbt and others print during the run goes."""
    directory = settings().home / "logs"
    directory.mkdir(parents=True, exist_ok=True)
    return directory / f"{outcome.run_id}.log"


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    with path.open("w") as log, redirect_stdout(log):
        yield


@contextmanager
def _watching(
    instance: dg.DagsterInstance, outcome: Outcome, progress: Callable[[str, str, float], None]
) -> Iterator[None]:
    """Report the run's steps as they start and end, from a thread that follows the event log."""
    done = threading.Event()

    def follow() -> None:
        cursor: str | None = None
        checked = time.monotonic()
        while not done.wait(_POLL_SECONDS):
            cursor = _report(instance, outcome.run_id, cursor, progress)
            if time.monotonic() - checked > _LIVENESS_SECONDS:
                # This run may be waiting for a slot of a run that was killed meanwhile.
                fail_dead_runs(instance)
                checked = time.monotonic()
        _report(instance, outcome.run_id, cursor, progress)

    thread = threading.Thread(target=follow, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=10)


_STEP_EVENTS = {
    dg.DagsterEventType.STEP_START: "started",
    dg.DagsterEventType.STEP_SUCCESS: "done",
    dg.DagsterEventType.STEP_FAILURE: "failed",
    dg.DagsterEventType.STEP_UP_FOR_RETRY: "retrying",
}


def _report(
    instance: dg.DagsterInstance, run_id: str, cursor: str | None, progress: Callable[[str, str, float], None]
) -> str:
    """Tell of the steps' events since a cursor; returns the one after them."""
    found = instance.get_records_for_run(run_id, cursor=cursor, of_type=set(_STEP_EVENTS))
    for record in found.records:
        event = record.event_log_entry.get_dagster_event()
        seconds = event.step_success_data.duration_ms / 1000 if event.is_step_success else 0.0
        progress(event.step_key or "", _STEP_EVENTS[event.event_type], seconds)
    return found.cursor


def _read_events(instance: dg.DagsterInstance, outcome: Outcome) -> None:
    for entry in instance.all_logs(outcome.run_id, of_type={*_STEP_EVENTS, dg.DagsterEventType.ASSET_CHECK_EVALUATION}):
        event = entry.get_dagster_event()
        if event.is_step_success:
            outcome.seconds[str(event.step_key)] = event.step_success_data.duration_ms / 1000
        elif event.is_step_failure:
            if not _is_failed_check(event.step_failure_data):
                outcome.errors[str(event.step_key)] = cause_of(event.step_failure_data)
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if check.partition is None:
                outcome.checks[check.asset_key.to_user_string(), check.check_name] = _check_outcome(check)


def _check_outcome(check: dg.AssetCheckEvaluation) -> CheckOutcome:
    dates = check.metadata.get("failed_dates")
    failed_dates = from_words(str(dates.value)) if dates is not None else []
    accounts = check.metadata.get("accounts")
    return CheckOutcome(
        check.passed,
        check.severity.value,
        tuple(str(day) for day in failed_dates),
        bool(check.blocking),
        accounts.value if isinstance(accounts, dg.JsonMetadataValue) and isinstance(accounts.value, Mapping) else {},
    )


def _is_failed_check(failure: Any) -> bool:
    """Whether a step failed because a blocking check of it did; the check's own event says more."""
    return failure.error is not None and failure.error.cls_name == "DagsterAssetCheckFailedError"


def cause_of(failure: Any) -> str:
    """The message of a failed step: what it said itself, else the innermost cause."""
    if failure.user_failure_data and failure.user_failure_data.description:
        return str(failure.user_failure_data.description)
    error = failure.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "no message"
