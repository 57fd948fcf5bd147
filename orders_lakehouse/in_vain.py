"""Dates that a sensor asks for again and again because each run fails: what people are told of it.

The sensor's cursor knows them (`pending.py`). A file for each sensor in LAKEHOUSE_HOME says the same to commands that
only look and do not import Dagster; it stands as long as there is something to tell.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path

from orders_lakehouse.dates import days, in_words
from orders_lakehouse.pending import Pending
from orders_lakehouse.settings import settings

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


def asked_in_vain(sensor: str, state: Pending) -> list[InVain]:
    """What a sensor asks for in vain, by what it remembers; nothing as soon as a run of the dates succeeds."""
    return [
        InVain(sensor, SENSORS[sensor], first, last, failure.attempts, failure.since, failure.run_id, failure.error)
        for (first, last), failure in state.in_vain()
    ]


def keep(sensor: str, found: Sequence[InVain]) -> None:
    """Note what a sensor asks for in vain, or that there is nothing any more, for those who only look."""
    path = _file(sensor)
    if not found:
        path.unlink(missing_ok=True)
        return
    said = json.dumps([asdict(one) for one in found], default=str, indent=1)
    if path.exists() and path.read_text() == said:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whoever reads meanwhile finds the one or the other.
    beside = path.with_suffix(f".{os.getpid()}")
    beside.write_text(said)
    beside.replace(path)


def kept() -> list[InVain]:
    """What sensors asked for in vain when they last looked."""
    found = []
    for sensor in SENSORS:
        try:
            said = json.loads(_file(sensor).read_text())
        except FileNotFoundError:
            continue
        for one in said:
            dates = {name: date.fromisoformat(one[name]) for name in ("first", "last")}
            found.append(InVain(**{**one, **dates, "since": datetime.fromisoformat(one["since"])}))
    return found


def _file(sensor: str) -> Path:
    return settings().home / "sensors" / f"{sensor}.json"
