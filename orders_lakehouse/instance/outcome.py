"""Read the outcome of a run from its events in Dagster: check results, durations, errors."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import dagster as dg

from orders_lakehouse.dates import from_words
from orders_lakehouse.instance.run_tags import dates_of

STEP_EVENTS = {
    dg.DagsterEventType.STEP_START: "started",
    dg.DagsterEventType.STEP_SUCCESS: "done",
    dg.DagsterEventType.STEP_FAILURE: "failed",
    dg.DagsterEventType.STEP_UP_FOR_RETRY: "retrying",
}
# Maximum characters of an error in a sensor's state; the run's page has the rest.
_MOST_CHARACTERS = 600


@dataclass(frozen=True)
class CheckOutcome:
    """Result of a check in a run.

    Attributes:
        passed: Whether it holds.
        severity: ERROR or WARN.
        failed_dates: Dates (ISO 8601) on which it does not hold, for a check by date.
        blocking: Whether it stops its run.
        accounts: Number of versions in each account, for a check of the row accounting.
        found: What it found on the latest of the failed dates.
    """

    passed: bool
    severity: str = "ERROR"
    failed_dates: tuple[str, ...] = ()
    blocking: bool = True
    accounts: Mapping[str, int] = field(default_factory=dict)
    found: str = ""

    @property
    def failed(self) -> bool:
        """Whether it does not hold, with severity ERROR."""
        return not self.passed and self.severity == "ERROR"


@dataclass
class Outcome:
    """Outcome of a run.

    Attributes:
        run_id: Dagster's id of the run.
        success: Whether every step and every blocking check succeeded.
        seconds: Seconds by step.
        checks: Result of each check over all dates, by asset (`layer/name`) and check name.
        errors: Messages of steps that failed for another reason than a check.
    """

    run_id: str
    success: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    checks: dict[tuple[str, str], CheckOutcome] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        """Return the outcome as plain data; checks are a list, with asset and check in each."""
        checks = [
            {"asset": asset, "check": name, **asdict(check)} for (asset, name), check in sorted(self.checks.items())
        ]
        return {**vars(self), "checks": checks}


def read_events(instance: dg.DagsterInstance, outcome: Outcome) -> None:
    """Add the events of a run to its outcome."""
    for entry in instance.all_logs(outcome.run_id, of_type={*STEP_EVENTS, dg.DagsterEventType.ASSET_CHECK_EVALUATION}):
        event = entry.get_dagster_event()
        if event.is_step_success:
            outcome.seconds[str(event.step_key)] = event.step_success_data.duration_ms / 1000
        elif event.is_step_failure:
            if not _is_failed_check(event.step_failure_data):
                outcome.errors[str(event.step_key)] = cause_of(event.step_failure_data)
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            outcome.checks[check.asset_key.to_user_string(), check.check_name] = _check_outcome(check)


def _check_outcome(check: dg.AssetCheckEvaluation) -> CheckOutcome:
    dates = check.metadata.get("failed_dates")
    failed_dates = from_words(str(dates.value)) if dates is not None else []
    accounts, fails = check.metadata.get("accounts"), check.metadata.get("fails")
    rows = fails.records if isinstance(fails, dg.TableMetadataValue) else ()
    return CheckOutcome(
        check.passed,
        check.severity.value,
        tuple(str(day) for day in failed_dates),
        bool(check.blocking),
        accounts.value if isinstance(accounts, dg.JsonMetadataValue) and isinstance(accounts.value, Mapping) else {},
        str(rows[0].data.get("found") or "") if rows else "",
    )


def _is_failed_check(failure: Any) -> bool:
    """Return whether a step failed because of a blocking check; the check's own event has the details."""
    return failure.error is not None and failure.error.cls_name == "DagsterAssetCheckFailedError"


def cause_of(failure: Any) -> str:
    """Return the message of a failed step: its own description, otherwise the innermost cause."""
    if failure.user_failure_data and failure.user_failure_data.description:
        return str(failure.user_failure_data.description)
    error = failure.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "no message"


def causes(outcome: Outcome) -> list[str]:
    """Return a line for each cause of a run's failure: steps, and checks with their dates."""
    by_cause: dict[str, list[str]] = {}
    for step, message in outcome.errors.items():
        by_cause.setdefault(message, []).append(step.replace("__", "/"))
    lines = [f"{', '.join(steps)}: {message}" for message, steps in by_cause.items()]
    failed = sorted(stopped_by(outcome).items())
    return [*lines, *(f"check {name} on {asset} failed{_on(check)}" for (asset, name), check in failed)]


def blamed_dates(outcome: Outcome) -> frozenset[date]:
    """Return the dates without which the run would have gone on; none if it failed for another reason, too."""
    failed = stopped_by(outcome).values()
    if outcome.errors or not all(check.failed_dates for check in failed):
        return frozenset()
    return frozenset(date.fromisoformat(day) for check in failed for day in check.failed_dates)


def explain_failed_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """Return why a run fails, and the commands that go on, for its page in the UI; None if nothing has failed."""
    outcome = Outcome(run.run_id)
    read_events(instance, outcome)
    dates, lines = dates_of(run), causes(outcome)
    if not lines or dates is None:
        return "\n".join(lines) or None
    bad = sorted(blamed_dates(outcome))
    first, last = map(date.fromisoformat, dates)
    backfill = f"lakehouse backfill {first} {last}"
    if bad and len(bad) <= (last - first).days:
        without = "".join(f" --without {day}" for day in bad)
        lines.append(f"The other dates run without {'it' if len(bad) == 1 else 'them'}: {backfill}{without}")
    return "\n".join([*lines, f"Once the cause is fixed, run the dates again: {backfill}"])


def stopped_by(outcome: Outcome) -> dict[tuple[str, str], CheckOutcome]:
    """Return the checks that stopped a run; checks that only report are left out."""
    return {key: check for key, check in outcome.checks.items() if check.failed and check.blocking}


def _on(check: CheckOutcome) -> str:
    days, found = check.failed_dates, f" ({check.found})" if check.found else ""
    return f" for {len(days)} date{'s' if len(days) > 1 else ''}: {', '.join(days)}{found}" if days else found


def failure_in_words(instance: dg.DagsterInstance, run_id: str) -> str:
    """Return why a run failed: its steps with their errors, and the checks that stopped it with their dates."""
    outcome = Outcome(run_id)
    read_events(instance, outcome)
    lines = causes(outcome)
    if not lines:
        # The process was killed, or the run failed before its first step.
        ends = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
        lines = [message for entry in ends if (message := (entry.get_dagster_event().message or "").strip())]
    words = "; ".join(lines) or "the run ended without a message"
    return words if len(words) <= _MOST_CHARACTERS else f"{words[: _MOST_CHARACTERS - 3]}..."
