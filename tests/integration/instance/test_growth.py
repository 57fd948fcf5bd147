"""What runs of a tiny shop leave beside the lake, and that it does not grow without end."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from orders_lakehouse.defs.maintenance import (
    SharedHistoryError,
    prune_everything,
    prune_history_job,
    require_own_history,
)
from orders_lakehouse.instance.home import prepare_instance
from orders_lakehouse.instance.orphaned_runs import sign_run, signature_tags
from orders_lakehouse.pipeline.check_results import evaluations, failing, in_force, latest
from orders_lakehouse.runtime import adbc_pool
from orders_lakehouse.settings import settings
from tests.support.lakehouse import Lakehouse, failures
from tests.support.terminal import command_line

pytestmark = pytest.mark.slow

FIRST = date(2017, 1, 2)
SHOP = """
INSERT INTO shop.products VALUES ('p', 'Tea', 'Food', 'Maker', 3, 'EUR', '2016-12-15', null);
INSERT INTO shop.orders (order_id, ordered_at, status, currency, updated_at)
  SELECT 'o' || n, t, 'paid', 'EUR', t FROM generate_series(0, 9) AS n,
  LATERAL (SELECT timestamptz '2017-01-02 10:00+00' + n * interval '1 day' AS t);
INSERT INTO shop.order_items (order_id, line_number, product_id, quantity, unit_price, discount, updated_at)
  SELECT order_id, line, 'p', 1, 3, 0, updated_at FROM shop.orders, generate_series(1, 3) AS line;
"""
CHANGE = "UPDATE shop.order_items SET quantity = quantity + 1, updated_at = updated_at + interval '1 second' WHERE "
# How many runs the long test makes, and how many of them keep everything; it prunes five times while these are made.
DATES = 10
RUNS, KEPT = (int(os.environ.get(name, default)) for name, default in (("GROWTH_RUNS", "300"), ("GROWTH_KEPT", "50")))


@pytest.fixture
def stored(lakehouse: Lakehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lakehouse]:
    """A lakehouse whose runs are stored as outside of tests, on a shop of ten orders."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv("LAKEHOUSE_KEEP_RUNS", "3")
    settings.cache_clear()
    prepare_instance()
    with dg.DagsterInstance.get() as instance:
        lakehouse.shop(SHOP)
        yield replace(lakehouse, instance=instance)


def follow(lakehouse: Lakehouse, number: int, dates: int) -> str:
    """Change the order of one of some dates, and run the date; returns the run's id."""
    day = number % dates
    lakehouse.shop(f"{CHANGE} order_id = 'o{day}'")
    done = lakehouse.run(str(FIRST + timedelta(days=day)))
    assert done.success, failures(done)
    assert lakehouse.instance is not None
    # As the executors do that run outside of tests.
    sign_run(lakehouse.instance, done.run_id)
    return done.run_id


def pruned(lakehouse: Lakehouse) -> dg.ExecuteInProcessResult:
    """Run the job that prunes, signed as the executors sign it that run outside of tests."""
    job = lakehouse.definitions.resolve_job_def("prune_history_job")
    return job.execute_in_process(instance=lakehouse.instance, tags=signature_tags("of tests"), raise_on_error=False)


def files_beside_the_lake(home: Path) -> dict[Path, int]:
    found = [path for path in home.rglob("*") if path.is_file() and path.relative_to(home).parts[0] != "lake"]
    return {path.relative_to(home): path.stat().st_size for path in found}


def materialized(instance: dg.DagsterInstance) -> dict[str, set[str]]:
    return {key.to_user_string(): instance.get_materialized_partitions(key) for key in instance.all_asset_keys()}


def judged(instance: dg.DagsterInstance, checks: list[dg.AssetCheckKey]) -> dict[str, str]:
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(checks)
    return {str(key): f"{record.run_id} {record.status}" for key, record in found.items()}


@pytest.mark.thorough
def test_six_runs_leave_what_three_do(stored: Lakehouse, tmp_path: Path) -> None:
    instance = stored.instance
    assert instance is not None
    runs = [follow(stored, number, dates=2) for number in range(6)]
    assert [path.name for path in (tmp_path / "dbt").iterdir()] == ["partial_parse.msgpack"]
    checks = list(stored.definitions.resolve_asset_graph().asset_check_keys)
    shown = materialized(instance), judged(instance, checks)
    assert len(shown[1]) > 30
    before, rows = files_beside_the_lake(tmp_path), evaluations(stored.lake)

    told = command_line(["prune", "--dry-run"], SHOP_DATABASE_URL=stored.shop_url)
    assert told.returncode == 0, told.stderr
    assert "would go" in told.stdout
    assert set(files_beside_the_lake(tmp_path)) == set(before)
    assert evaluations(stored.lake).equals(rows)

    assert pruned(stored).success
    after = files_beside_the_lake(tmp_path)
    # The run that has pruned is the newest of three.
    left = {path.stem for path in after if path.parts[:3] == ("dagster", "history", "runs") and path.suffix == ".db"}
    assert left & set(runs) == set(runs[4:])
    assert {path.parts[2] for path in after if path.parts[:2] == ("dagster", "storage")} & set(runs) == set(runs[4:])
    assert sum(before.values()) - sum(after.values()) > 4_000_000
    assert (materialized(instance), judged(instance, checks)) == shown
    assert set(instance.get_run_ids()) >= set(runs[4:])
    assert not set(instance.get_run_ids()) & set(runs[:4])

    kept = evaluations(stored.lake)
    assert kept.height < rows.height
    assert latest(stored.lake).equals(in_force(rows))
    assert failing(kept).equals(failing(rows))
    assert kept.filter(pl.col("run_id").is_in(runs[4:])).height == rows.filter(pl.col("run_id").is_in(runs[4:])).height
    follow(stored, 0, dates=2)


@pytest.mark.long
def test_build_that_fails_leaves_its_artifacts(stored: Lakehouse, tmp_path: Path) -> None:
    follow(stored, 0, dates=1)
    with adbc_pool.connect(stored.warehouse_url) as connection, connection.cursor() as cursor:
        cursor.execute("ALTER TABLE marts.fct_orders ADD CONSTRAINT full_up CHECK (false) NOT VALID")
        connection.commit()
    failed = stored.run(str(FIRST), job="refresh_marts_job")
    assert not failed.success
    assert "full_up" in "".join(failures(failed))
    (left,) = [path for path in (tmp_path / "dbt").iterdir() if path.is_dir()]
    assert left.name.startswith(f"marts-{failed.run_id[:7]}-")
    assert "full_up" in (left / "dbt.log").read_text()


def test_foreign_instance_is_not_pruned(stored: Lakehouse) -> None:
    instance = stored.instance
    assert instance is not None

    @dg.op
    def nothing() -> None:
        pass

    @dg.job
    def theirs() -> None:
        nothing()

    require_own_history(instance)
    run = theirs.execute_in_process(instance=instance)
    with pytest.raises(SharedHistoryError, match="found theirs in this Dagster instance"):
        prune_everything(instance, stored.lake)
    assert prune_history_job.execute_in_process(instance=instance, resources={"lake": stored.lake}).success
    assert instance.get_run_by_id(run.run_id) is not None


@pytest.mark.thorough
def test_run_leaves_ten_kilobytes_at_most(stored: Lakehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_KEEP_RUNS", str(KEPT))
    settings.cache_clear()
    sizes: dict[int, int] = {}
    for number in range(1, RUNS + 1):
        follow(stored, number, dates=DATES)
        if number % (KEPT // 5) == 0:
            before = files_beside_the_lake(tmp_path)
            assert pruned(stored).success
            after = files_beside_the_lake(tmp_path)
            sizes[number] = sum(after.values())
            print(f"after {number} runs: {len(after)} files, {sizes[number]} bytes (was {sum(before.values())})")
    # Once all dates have run, and those runs are none of the newest any more.
    first, last = min(number for number in sizes if number >= DATES + KEPT), max(sizes)
    assert first < last
    assert (sizes[last] - sizes[first]) / (last - first) <= 10_000, sizes
