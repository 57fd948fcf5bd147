"""The benchmark, on a shop of a few households and with one run."""

import json
from collections.abc import Callable, Sequence
from datetime import date, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from adbc_driver_postgresql import dbapi
from click.testing import CliRunner

from bench import __main__ as command
from bench.run import Bench, Rivals, rows
from bench.skew import TIMES, multiply
from orders_lakehouse.sample_shop import sample
from orders_lakehouse.sample_shop.complete_journey import CompleteJourney, read_complete_journey

FIRST, LAST = "2017-01-01", "2017-01-09"
PARTS = ("start_seconds", "event_seconds", "dbt_seconds", "work_seconds", "rest_seconds")
LAST_MOMENT = datetime(2017, 1, 10)  # noqa: DTZ001 (as the data set has it)
STAGES = ("raw", "cleansed", "curated", "marts", "checks")


@pytest.fixture
def shop_url(postgres_url_factory: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> str:
    journey = read_complete_journey()
    sold = journey.transactions.filter(pl.col("household_id") <= 100, pl.col("transaction_timestamp") < LAST_MOMENT)
    few = CompleteJourney(sold, journey.products.join(sold, on="product_id", how="semi"), journey.demographics)
    shop = sample.build_shop(few)
    monkeypatch.setattr(sample, "build_shop", lambda **_: shop)
    url = postgres_url_factory("bench_shop")
    sample.load_sample_shop(url)
    return url


def one_run(
    lakehouse: Bench,
    first: date,
    last: date,
    _runs: int,
    _say: Callable[[str], None],
    _works: Sequence[str],
    rivals: Rivals,
) -> dict[str, Any]:
    beside = {name: [rivals.race(lakehouse, name, first, last)] for name in rivals.names}
    lakehouse.empty()
    runs = {"year": [lakehouse.backfill(first, last)], **beside}
    rivals.require_equal(lakehouse, rivals.names)
    return {name: {"from": str(first), "to": str(last), "runs": of} for name, of in runs.items()}


@pytest.mark.slow
@pytest.mark.thorough
def test_run_is_measured_and_its_numbers_add_up(shop_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_DATABASE_URL", shop_url)
    monkeypatch.setattr(command, "measure", one_run)
    monkeypatch.setattr(command, "WORKS", ["year"])

    arguments = ["--from", FIRST, "--to", LAST, "--rivals", "bare", "--results", str(tmp_path)]
    done = CliRunner().invoke(command.bench, arguments)

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
    assert {name for name, stage in stages.items() if stage["dbt_seconds"]} == {"marts"}
    assert {name for name, stage in stages.items() if stage["bytes"]} == {*STAGES}
    assert run["postgres_peak_bytes"] > 10_000_000
    assert run["events"] > 100
    assert result["shop"]["products"] > 100

    (bare,) = result["rivals"]["bare"]["runs"]
    assert 0 < bare["start_seconds"] < bare["seconds"] < run["seconds"]
    assert set(bare["stages"]) == {"lake", "copies", "marts"}
    for one in (run, bare):
        assert 0.5 < one["cpu_seconds"] < 10 * one["seconds"]
        assert one["postgres_cpu_seconds"] > 0
        assert 10_000_000 < one["proportional_peak_bytes"] < 2 * one["peak_bytes"]

    page = (tmp_path / "README.md").read_text()
    assert "| bare script | " in page
    for text in (stored.read_text(), page, done.output.replace(str(stored), "")):
        assert str(Path.home()) not in text
        assert str(tmp_path.parent) not in text
        assert "lakehouse-bench-" not in text
    assert f"### year: {FIRST} to {LAST}" in page


def test_each_order_of_one_date_is_copied_fifty_times(postgres_url_factory: Callable[[str], str]) -> None:
    url = postgres_url_factory("skewed")
    schema = resources.files("orders_lakehouse.sample_shop").joinpath("schema.sql").read_text()
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.executescript(
            schema
            + """
            INSERT INTO shop.orders (order_id, ordered_at, updated_at) VALUES
              ('before', '2017-11-23 22:59:59+00', '2017-11-24'), ('at', '2017-11-23 23:00+00', '2017-11-24'),
              ('late', '2017-11-24 22:59:59+00', '2017-11-24'), ('after', '2017-11-24 23:00+00', '2017-11-24');
            INSERT INTO shop.order_items (order_id, line_number, quantity, updated_at) VALUES
              ('before', 1, 1, '2017-11-24'), ('at', 1, 2, '2017-11-24'), ('at', 2, 3, '2017-11-24');
            INSERT INTO shop.payments (payment_id, order_id, updated_at) VALUES
              ('p', 'late', '2017-11-24'), ('q', 'after', '2017-11-24');
            """
        )
        connection.commit()

    assert multiply(url, date(2017, 11, 24), "Europe/Berlin") == (1 + 2 * TIMES, 2 * TIMES)

    assert rows(url, "SELECT count(*) FROM shop.orders") == [(2 + 2 * TIMES,)]
    assert rows(url, "SELECT count(*), count(DISTINCT order_id) FROM shop.payments") == [(1 + TIMES, 1 + TIMES)]
    paid = "SELECT count(*) FROM shop.payments INNER JOIN shop.orders USING (order_id)"
    assert rows(url, paid) == [(1 + TIMES,)]
    assert rows(url, "SELECT sum(quantity)::int FROM shop.order_items") == [(1 + 5 * TIMES,)]
