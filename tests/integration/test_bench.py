"""The benchmark, on a shop of a few households and with one run."""

import json
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from bench import __main__ as command
from bench.run import Bench
from orders_lakehouse.shop import sample
from orders_lakehouse.shop.complete_journey import CompleteJourney, read_complete_journey

FIRST, LAST = "2017-01-01", "2017-01-09"
PARTS = ("start_seconds", "event_seconds", "dbt_seconds", "work_seconds", "rest_seconds")
LAST_MOMENT = datetime(2017, 1, 10)  # noqa: DTZ001 (as the data set has it)
STAGES = ("raw", "cleansed", "curated", "warehouse", "dimensions", "facts", "checks")


@pytest.fixture
def shop_url(postgres_url_factory: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> str:
    journey = read_complete_journey()
    sold = journey.transactions.filter(pl.col("household_id") <= 100, pl.col("transaction_timestamp") < LAST_MOMENT)
    few = CompleteJourney(sold, journey.products.join(sold, on="product_id", how="semi"), journey.demographics)
    shop = sample.build_shop(few)
    monkeypatch.setattr(sample, "build_shop", lambda: shop)
    url = postgres_url_factory("bench_shop")
    sample.load_sample_shop(url)
    return url


def one_run(lakehouse: Bench, first: date, last: date, _runs: int, _say: Callable[[str], None]) -> dict[str, Any]:
    lakehouse.empty()
    return {"year": {"from": str(first), "to": str(last), "runs": [lakehouse.backfill(first, last)]}}


@pytest.mark.slow
@pytest.mark.thorough
def test_a_run_is_measured_and_its_numbers_add_up(
    shop_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DATABASE_URL", shop_url)
    monkeypatch.setattr(command, "measure", one_run)

    done = CliRunner().invoke(command.bench, ["--from", FIRST, "--to", LAST, "--results", str(tmp_path)])

    assert done.exception is None, done.output
    (stored,) = tmp_path.glob("*.json")
    assert stored.name == f"given-{FIRST}-{LAST}.json"
    result = json.loads(stored.read_text())
    (run,) = result["work"]["year"]["runs"]
    stages = run["stages"]
    assert tuple(stages) == STAGES
    assert all(run[part] > 0 for part in PARTS)
    assert sum(run[part] for part in PARTS) == pytest.approx(run["seconds"])
    assert sum(stage["seconds"] for stage in stages.values()) < run["seconds"]
    for stage in stages.values():
        assert stage["seconds"] == pytest.approx(stage["work_seconds"] + stage["event_seconds"] + stage["dbt_seconds"])
        assert stage["work_seconds"] > 0
        assert stage["rows"] > 0, stages
        assert stage["peak_bytes"] <= run["peak_bytes"]
    assert {name for name, stage in stages.items() if stage["dbt_seconds"]} == {"dimensions", "facts"}
    assert {name for name, stage in stages.items() if stage["bytes"]} == {*STAGES}
    assert run["postgres_peak_bytes"] > 10_000_000
    assert run["events"] > 100
    assert result["shop"]["products"] > 100

    page = (tmp_path / "README.md").read_text()
    for text in (stored.read_text(), page, done.output.replace(str(stored), "")):
        assert str(Path.home()) not in text
        assert str(tmp_path.parent) not in text
        assert "lakehouse-bench-" not in text
    assert f"### year: {FIRST} to {LAST}" in page
