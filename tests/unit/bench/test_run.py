"""The works of a benchmark, and what a run is told by its environment."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, cast

import pytest

from bench import rivals
from bench.run import Bench, BenchError, Rivals, measure

LAKEHOUSE = Bench(Path("/srv/bench"), "/run/server", "postgresql://shop/shop")


class Recorder:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.shop_url = "the shop"
        self.settings = {"LAKEHOUSE_TIMEZONE": "UTC"}

    def empty(self) -> None:
        self.asked.append("empty")

    def change_lines(self, url: str, day: date, timezone: str) -> None:
        self.asked.append((f"change {url} {timezone}", f"{day:%m-%d}"))

    def backfill(self, first: date, last: date, command: str) -> dict[str, float]:
        self.asked.append((command, f"{first:%m-%d}", f"{last:%m-%d}"))
        return {"seconds": float(len(self.asked))}


def test_year_begins_empty_and_other_work_builds_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr("bench.run.change_lines", recorder.change_lines)
    said: list[str] = []
    works = measure(cast("Bench", recorder), date(2017, 1, 1), date(2017, 1, 31), 2, said.append)
    year, both = ("01-01", "01-30"), ("01-01", "01-31")
    once = [
        *("empty", ("unchecked", *year)),
        *("empty", ("backfill", *year), ("backfill", "01-31", "01-31"), ("backfill", *both)),
        *(("change the shop UTC", "01-03"), ("backfill", "01-03", "01-03")),
    ]
    assert recorder.asked == once + once
    assert works == {
        "year": {"from": "2017-01-01", "to": "2017-01-30", "runs": [{"seconds": 4.0}, {"seconds": 12.0}]},
        "one date": {"from": "2017-01-31", "to": "2017-01-31", "runs": [{"seconds": 5.0}, {"seconds": 13.0}]},
        "unchanged": {"from": "2017-01-01", "to": "2017-01-31", "runs": [{"seconds": 6.0}, {"seconds": 14.0}]},
        "changed lines": {"from": "2017-01-03", "to": "2017-01-03", "runs": [{"seconds": 8.0}, {"seconds": 16.0}]},
        "unchecked": {"from": "2017-01-01", "to": "2017-01-30", "runs": [{"seconds": 2.0}, {"seconds": 10.0}]},
    }
    assert said[-1] == "  run 2 of 2, changed lines: 16.0 s"


def test_rivals_alternate_with_the_year_and_are_compared_once() -> None:
    recorder = Recorder()

    def race(_: Bench, name: str, first: date, last: date) -> dict[str, float]:
        recorder.asked.append((name, f"{first:%m-%d}", f"{last:%m-%d}"))
        return {"seconds": 1.0}

    def require_equal(_: Bench, names: Sequence[str]) -> None:
        recorder.asked.append(("equal", *names))

    works = measure(
        cast("Bench", recorder),
        date(2017, 1, 1),
        date(2017, 1, 31),
        2,
        lambda _: None,
        ["year", "one date"],
        Rivals(["bare", "other"], race, require_equal),
    )
    year = ("01-01", "01-30")
    before = [("bare", *year), ("other", *year), "empty", ("backfill", *year)]
    one_date = ("backfill", "01-31", "01-31")
    assert recorder.asked == [*before, ("equal", "bare", "other"), one_date, *before, one_date]
    assert list(works) == ["year", "one date", "bare", "other"]
    assert works["bare"] == {"from": "2017-01-01", "to": "2017-01-30", "runs": [{"seconds": 1.0}] * 2}


def test_rival_that_makes_other_tables_ends_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "lake_differences", lambda *_: ["curated/order_lines: (1, 2, 3) and (1, 2, 4)"])
    monkeypatch.setattr(rivals, "warehouse_differences", lambda *_: [])
    with pytest.raises(BenchError, match=r"bare has not made the same tables.*curated/order_lines: \(1, 2, 3\) and"):
        rivals.require_equal(Bench(tmp_path, "/run/server", ""), ["bare"])


def test_rival_has_a_lake_and_a_warehouse_of_its_own() -> None:
    environment = LAKEHOUSE.rival_environment("bare")
    assert environment["LAKE_URL"] == "/srv/bench/bare/lake"
    assert environment["WAREHOUSE_DATABASE_URL"] == "postgresql://postgres@/bare?host=/run/server"
    assert environment["SHOP_DATABASE_URL"] == "postgresql://shop/shop"


def test_run_writes_nowhere_but_in_its_own_home(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert settings["LAKEHOUSE_EXECUTOR"] == "threads"
    assert settings["LAKEHOUSE_DBT_ARTIFACTS"] == "all"
    assert settings.items() <= LAKEHOUSE.environment.items()
    assert not any("/" in value for name, value in settings.items() if name != "LAKEHOUSE_TIMEZONE")
