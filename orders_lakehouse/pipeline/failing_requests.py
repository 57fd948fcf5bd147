"""Dates that a sensor asks for again and again because each run fails: what people are told of it.

The sensor's cursor knows them (`date_queue.py`), and the tables that it cannot look at. Files in LAKEHOUSE_HOME say the
same to commands that only look and do not import Dagster; each stands as long as there is something to tell.
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

# The sensors, and the job that each of them asks for.
SENSORS = {"shop_changes_sensor": "capture_changes_job", "touched_dates_sensor": "derive_dates_job"}


@dataclass(frozen=True)
class InVain:
    """Dates on which every run that a sensor asked for has failed, three times or more.

    Attributes:
        sensor: Name of the sensor.
        job: Name of the job that it asks for.
        first: First date.
        last: Last date.
        attempts: Runs that have failed, one after the other.
        since: When the first of them was asked for.
        run_id: Dagster's id of the last of them; None when Dagster does not know it.
        error: What the last of them failed by.
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
        """What is asked for in vain, how often, and since when."""
        runs = f"{self.attempts} runs of {self.job} have failed since {self.since:%Y-%m-%d %H:%M} UTC"
        return f"{in_words(days(self.first, self.last))}: {runs}"

    def remedy(self, program: str = "lakehouse") -> str:
        """What to do about it."""
        page = f"`make dev` and run {self.run_id} show the details. " if self.run_id else ""
        return (
            f"{page}Once the cause is fixed, the sensor gets through by itself; at once: "
            f"{program} backfill {self.first} {self.last} --job {self.job}"
        )


def refused_tables(state: DateQueue) -> list[RefusedTable]:
    """The tables of the shop that a sensor could not look at the last time, by what it remembers."""
    refused = {
        table: mark[REFUSED] for table, mark in state.marks.items() if isinstance(mark, Mapping) and REFUSED in mark
    }
    return [
        RefusedTable(table, datetime.fromisoformat(mark["since"]), mark["error"])
        for table, mark in sorted(refused.items())
    ]


def asked_in_vain(sensor: str, state: DateQueue) -> list[InVain]:
    """What a sensor asks for in vain, by what it remembers; nothing as soon as a run of the dates succeeds."""
    return [
        InVain(sensor, SENSORS[sensor], first, last, failure.attempts, failure.since, failure.run_id, failure.error)
        for (first, last), failure in state.in_vain()
    ]


def keep(sensor: str, found: Sequence[InVain]) -> None:
    """Note what a sensor asks for in vain, or that there is nothing any more, for those who only look."""
    _write(_file(sensor), found)


def kept() -> list[InVain]:
    """What sensors asked for in vain when they last looked."""
    found = []
    for sensor in SENSORS:
        for one in _read(_file(sensor)):
            dates = {name: date.fromisoformat(one[name]) for name in ("first", "last")}
            found.append(InVain(**{**one, **dates, "since": datetime.fromisoformat(one["since"])}))
    return found


def keep_refused(sensor: str, found: Sequence[RefusedTable]) -> None:
    """Note which tables a sensor cannot look at, or that there are none any more, for those who only look."""
    _write(_file(f"{sensor}.{REFUSED}"), found)


def kept_refused() -> list[RefusedTable]:
    """The tables that sensors could not look at the last time."""
    found = [one for sensor in SENSORS for one in _read(_file(f"{sensor}.{REFUSED}"))]
    return [RefusedTable(one["table"], datetime.fromisoformat(one["since"]), one["error"]) for one in found]


def _write(path: Path, found: Sequence[InVain] | Sequence[RefusedTable]) -> None:
    if not found:
        path.unlink(missing_ok=True)
        return
    text = json.dumps([asdict(one) for one in found], default=str, indent=1)
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # A reader finds the old file or the new one, never a part.
    beside = path.with_suffix(f".{os.getpid()}")
    beside.write_text(text)
    beside.replace(path)


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(path.read_text())
    except FileNotFoundError:
        return []
    return found


def _file(name: str) -> Path:
    return settings().home / "sensors" / f"{name}.json"
