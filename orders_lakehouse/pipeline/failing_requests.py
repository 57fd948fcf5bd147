"""Report dates that a sensor requests again and again because each run fails, and tables that it cannot read.

The sensor's cursor knows both (`date_queue.py`). Files in LAKEHOUSE_HOME repeat them for commands that only report and
do not import Dagster; a file exists only while there is something to report.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from orders_lakehouse.dates import days, in_words
from orders_lakehouse.pipeline.date_queue import DateQueue
from orders_lakehouse.settings import settings
from orders_lakehouse.sources.base import REFUSED, RefusedTable

# Sensors, and the job that each of them requests.
SENSORS = {"shop_changes_sensor": "capture_changes_job", "touched_dates_sensor": "derive_dates_job"}


@dataclass(frozen=True)
class RepeatedFailure:
    """Dates on which every requested run has failed, three times or more.

    Attributes:
        sensor: Name of the sensor.
        job: Name of the job that it requests.
        first: First date.
        last: Last date.
        attempts: Number of runs in a row that have failed.
        since: When the first of them was requested.
        run_id: Dagster's id of the last of them; None when Dagster does not know it.
        error: Error of the last of them.
    """

    sensor: str
    job: str
    first: date
    last: date
    attempts: int
    since: datetime
    run_id: str | None
    error: str

    @property
    def in_words(self) -> str:
        """Describe which dates fail, how often, and since when."""
        runs = f"{self.attempts} runs of {self.job} have failed since {self.since:%Y-%m-%d %H:%M} UTC"
        return f"{in_words(days(self.first, self.last))}: {runs}"

    def next_step(self, program: str = "lakehouse") -> str:
        """Say what to do about it."""
        page = f"`make dev` and run {self.run_id} show the details. " if self.run_id else ""
        return (
            f"{page}Once the cause is fixed, the sensor's next run succeeds; to run at once: "
            f"{program} backfill {self.first} {self.last} --job {self.job}"
        )


def refused_tables(state: DateQueue) -> list[RefusedTable]:
    """Return the tables of the shop that a sensor could not read at its last look, from its marks."""
    refused = {
        table: mark[REFUSED] for table, mark in state.marks.items() if isinstance(mark, Mapping) and REFUSED in mark
    }
    return [
        RefusedTable(table, datetime.fromisoformat(mark["since"]), mark["error"])
        for table, mark in sorted(refused.items())
    ]


def repeated_failures(sensor: str, state: DateQueue) -> list[RepeatedFailure]:
    """Return the dates that fail again and again, from a sensor's state; a successful run removes its dates."""
    return [
        RepeatedFailure(
            sensor, SENSORS[sensor], first, last, failure.attempts, failure.since, failure.run_id, failure.error
        )
        for (first, last), failure in state.repeated_failures()
    ]


def save_failures(sensor: str, failures: Sequence[RepeatedFailure]) -> None:
    """Save the repeated failures of a sensor, also when there are none any more."""
    _write(_file(sensor), failures)


def saved_failures() -> list[RepeatedFailure]:
    """Return the repeated failures that sensors saved at their last look."""
    failures = []
    for sensor in SENSORS:
        for fields in _read(_file(sensor)):
            dates = {name: date.fromisoformat(fields[name]) for name in ("first", "last")}
            failures.append(RepeatedFailure(**{**fields, **dates, "since": datetime.fromisoformat(fields["since"])}))
    return failures


def save_refused(sensor: str, tables: Sequence[RefusedTable]) -> None:
    """Save the tables that a sensor cannot read, also when there are none any more."""
    _write(_file(f"{sensor}.{REFUSED}"), tables)


def saved_refused() -> list[RefusedTable]:
    """Return the tables that sensors could not read at their last look."""
    tables = [fields for sensor in SENSORS for fields in _read(_file(f"{sensor}.{REFUSED}"))]
    return [RefusedTable(table["table"], datetime.fromisoformat(table["since"]), table["error"]) for table in tables]


def _write(path: Path, records: Sequence[RepeatedFailure] | Sequence[RefusedTable]) -> None:
    if not records:
        path.unlink(missing_ok=True)
        return
    text = json.dumps([asdict(record) for record in records], default=str, indent=1)
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # The file is replaced as a whole, so that no reader finds a part of it.
    new_file = path.with_suffix(f".{os.getpid()}")
    new_file.write_text(text)
    new_file.replace(path)


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        records: list[dict[str, Any]] = json.loads(path.read_text())
    except FileNotFoundError:
        return []
    return records


def _file(name: str) -> Path:
    return settings().home / "sensors" / f"{name}.json"
