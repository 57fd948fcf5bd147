"""A run of a job in this process, with its progress on the terminal."""

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from datetime import date
from pathlib import Path

import dagster as dg

from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.instance.home import prepare_instance
from orders_lakehouse.instance.orphaned_runs import fail_dead_runs, signature_tags
from orders_lakehouse.instance.outcome import STEP_EVENTS, Outcome, read_events
from orders_lakehouse.instance.run_tags import DATES, TRIGGER, in_words
from orders_lakehouse.runtime.executor import execute_here
from orders_lakehouse.settings import settings

_LIVENESS_SECONDS = 10


class BackfillError(ExpectedError):
    """A backfill cannot start, or failed."""


def run_range(job_name: str, first: date, last: date, progress: Callable[[str, str, float], None]) -> Outcome:
    """Run a job over a range of dates, as one run in this process.

    Args:
        job_name: Name of the job.
        first: First date.
        last: Last date.
        progress: Called with the step, its event (started, done, failed, retrying, or a message of the step) and its
            seconds.

    Returns:
        The outcome of the run.

    Raises:
        BackfillError: The range is not within the partitions.
    """
    require_runnable(job_name, first, last)
    return run_job(job_name, progress, _range_tags(first, last))


def require_runnable(job_name: str, first: date, last: date) -> None:
    """Refuse a range of dates that cannot be run.

    Raises:
        BackfillError: There is no such job, or the range is not within the partitions.
    """
    from orders_lakehouse.definitions import defs

    jobs = sorted(job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__"))
    if job_name not in jobs:
        raise BackfillError(f"there is no job {job_name!r}; the jobs are {', '.join(jobs)}")
    _range_tags(first, last)


def run_selection(
    selection: dg.AssetSelection, first: date, last: date, progress: Callable[[str, str, float], None]
) -> Outcome:
    """Run assets and checks that no job selects over a range of dates, as `run_range` does for a job."""
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
            f"{outside[0]} is not a partition; expected dates from {keys[0]} (LAKEHOUSE_START_DATE) to {keys[-1]}"
        )
    return {**range_tags(first, last), DATES: in_words(str(first), str(last))}


def run_job(
    job_name: str, progress: Callable[[str, str, float], None], tags: Mapping[str, str] | None = None
) -> Outcome:
    """Run a job without dates in this process; `run_range` runs jobs with dates."""
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
                tags={**signature_tags(outcome.run_id), TRIGGER: "terminal", **tags},
            )
        outcome.success = result.success
        read_events(instance, outcome)
    return outcome


def _log_file(outcome: Outcome) -> Path:
    """Return the file for the output of dbt and other programs during the run."""
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
    """Report the run's steps as they start and end, and meanwhile mark runs as failed whose process is gone."""
    ended = threading.Event()

    def look_for_dead_runs() -> None:
        # This run may wait for a pool slot of a run that was killed meanwhile.
        while not ended.wait(_LIVENESS_SECONDS):
            fail_dead_runs(instance)

    # The run's own events are used, because queries to the event log would read the events for all dates of all assets.
    instance.add_event_listener(outcome.run_id, lambda entry: _report(entry, progress))
    thread = threading.Thread(target=look_for_dead_runs, name="liveness", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=10)


def _report(entry: dg.EventLogEntry, progress: Callable[[str, str, float], None]) -> None:
    """Report an event if it belongs to a step or is a message of a step."""
    event = entry.dagster_event
    if event is None or not (event.is_asset_observation or event.event_type in STEP_EVENTS):
        return
    if event.is_asset_observation:
        description = event.asset_observation_data.asset_observation.description or ""
    else:
        description = STEP_EVENTS[event.event_type]
    seconds = event.step_success_data.duration_ms / 1000 if event.is_step_success else 0.0
    # A closed terminal must not end the run.
    with suppress(OSError):
        progress(event.step_key or "", description, seconds)
