"""The works of a benchmark, and what a run is told by its environment."""

from datetime import date
from pathlib import Path
from typing import Any, cast

import pytest

from bench.run import Bench, measure

LAKEHOUSE = Bench(Path("/srv/bench"), "/run/server", "postgresql://shop/shop")


class Recorder:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def empty(self) -> None:
        self.asked.append("empty")

    def backfill(self, first: date, last: date, command: str) -> dict[str, float]:
        self.asked.append((command, f"{first:%m-%d}", f"{last:%m-%d}"))
        return {"seconds": float(len(self.asked))}


def test_each_time_the_year_begins_empty_and_one_date_lands_on_top_of_it() -> None:
    recorder = Recorder()
    said: list[str] = []
    works = measure(cast("Bench", recorder), date(2017, 1, 1), date(2017, 1, 31), 2, said.append)
    year, both = ("01-01", "01-30"), ("01-01", "01-31")
    once = [
        *("empty", ("unchecked", *year)),
        *("empty", ("backfill", *year), ("backfill", "01-31", "01-31"), ("backfill", *both)),
    ]
    assert recorder.asked == once + once
    assert works == {
        "year": {"from": "2017-01-01", "to": "2017-01-30", "runs": [{"seconds": 4.0}, {"seconds": 10.0}]},
        "one date": {"from": "2017-01-31", "to": "2017-01-31", "runs": [{"seconds": 5.0}, {"seconds": 11.0}]},
        "unchanged": {"from": "2017-01-01", "to": "2017-01-31", "runs": [{"seconds": 6.0}, {"seconds": 12.0}]},
        "unchecked": {"from": "2017-01-01", "to": "2017-01-30", "runs": [{"seconds": 2.0}, {"seconds": 8.0}]},
    }
    assert said[-1] == "  run 2 of 2, unchanged: 12.0 s"


def test_a_run_writes_nowhere_but_in_its_own_home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LAKEHOUSE_HOME", "LAKE_URL", "WAREHOUSE_DATABASE_URL", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "somebody's")
    environment = LAKEHOUSE.environment
    assert environment["LAKEHOUSE_HOME"] == "/srv/bench"
    assert environment["LAKE_URL"] == "/srv/bench/lake"
    assert environment["DAGSTER_HOME"] == "/srv/bench/dagster"
    assert environment["WAREHOUSE_DATABASE_URL"] == "postgresql://postgres@/warehouse?host=/run/server"
    assert environment["SHOP_DATABASE_URL"] == "postgresql://shop/shop"


def test_settings_are_the_defaults_or_the_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_TIMEZONE", "Europe/Berlin")
    monkeypatch.setenv("LAKEHOUSE_EXECUTOR", "multiprocess")
    settings = LAKEHOUSE.settings
    assert settings["LAKEHOUSE_TIMEZONE"] == "Europe/Berlin"
    assert settings["LAKEHOUSE_START_DATE"] == "2017-01-01"
    assert settings["LAKEHOUSE_EXECUTOR"] == "in_process"
    assert settings.items() <= LAKEHOUSE.environment.items()
    assert "LAKEHOUSE_HOME" not in settings
