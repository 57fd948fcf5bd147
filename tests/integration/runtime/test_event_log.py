"""Dagster's event log with engines that are kept: the same files, read and written by whoever comes."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from orders_lakehouse.instance.home import prepare_instance
from orders_lakehouse.runtime.event_log import _KEPT, KeptSqliteEventLogStorage
from orders_lakehouse.runtime.executor import execute_here
from orders_lakehouse.settings import settings

DATA_VERSION = "dagster/data_version"
DONE = dg.DagsterEventType.ASSET_MATERIALIZATION
PLANNED = dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
DAYS = dg.DailyPartitionsDefinition("2017-01-01", end_date="2017-01-06")


@dg.asset
def pebble() -> None: ...


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def stones(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    for key in context.partition_keys:
        context.add_asset_metadata({"weight": int(key[-2:])}, partition_key=key)
    return dg.MaterializeResult(data_version=dg.DataVersion("grey"))


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run(), deps=[stones])
def sand(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    if "2017-01-02" in context.partition_keys:
        raise dg.Failure("too coarse")
    return dg.MaterializeResult(data_version=dg.DataVersion("fine"))


@dg.asset_check(asset=stones)
def is_heavy() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


GRIND = dg.define_asset_job("grind", "*")
RANGE = dg.Definitions([stones, sand], asset_checks=[is_heavy], jobs=[GRIND], executor=dg.in_process_executor)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    settings.cache_clear()
    yield Path(prepare_instance())
    settings.cache_clear()


def _materialize(instance: dg.DagsterInstance) -> str:
    result = dg.materialize([pebble], instance=instance)
    assert result.success
    return result.run_id


def test_more_runs_than_are_kept_open_can_all_be_read(home: Path) -> None:
    with dg.DagsterInstance.get() as instance:
        assert isinstance(instance.event_log_storage, KeptSqliteEventLogStorage)
        runs = [_materialize(instance) for _ in range(_KEPT + 2)]
        assert [len(instance.all_logs(run, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)) for run in runs] == [
            1
        ] * len(runs)
    assert {path.stem for path in (home / "history" / "runs").glob("*.db")} == {*runs, "index"}


def test_older_home_finds_the_storage_by_its_former_name(home: Path) -> None:
    configuration = home / "dagster.yaml"
    of_before = configuration.read_text().replace("orders_lakehouse.runtime.event_log", "orders_lakehouse.event_log")
    assert of_before != configuration.read_text()
    configuration.write_text(of_before)
    with dg.DagsterInstance.get() as instance:
        assert type(instance.event_log_storage) is KeptSqliteEventLogStorage
        _materialize(instance)
        assert len(instance.fetch_materializations(dg.AssetKey("pebble"), limit=9).records) == 1


@pytest.mark.usefixtures("home")
def test_another_process_reads_and_writes_the_same_log() -> None:
    script = """
import dagster as dg
with dg.DagsterInstance.get() as instance:
    assert dg.materialize([dg.asset(name="pebble")(lambda: None)], instance=instance).success
    print(len(instance.fetch_materializations(dg.AssetKey("pebble"), limit=9).records))
"""
    with dg.DagsterInstance.get() as instance:
        _materialize(instance)
        other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert other.stdout.strip() == "2"
        assert len(instance.fetch_materializations(dg.AssetKey("pebble"), limit=9).records) == 2


@pytest.mark.usefixtures("home")
def test_log_that_is_wiped_is_empty_and_goes_on() -> None:
    with dg.DagsterInstance.get() as instance:
        _materialize(instance)
        instance.event_log_storage.wipe()
        assert instance.fetch_materializations(dg.AssetKey("pebble"), limit=9).records == []
        _materialize(instance)
        assert len(instance.fetch_materializations(dg.AssetKey("pebble"), limit=9).records) == 1


def test_log_lies_where_the_default_storage_reads_it(home: Path) -> None:
    with dg.DagsterInstance.get() as instance:
        _materialize(instance)
    (home / "dagster.yaml").unlink()
    with dg.DagsterInstance.get() as instance:
        assert not isinstance(instance.event_log_storage, KeptSqliteEventLogStorage)
        assert len(instance.fetch_materializations(dg.AssetKey("pebble"), limit=9).records) == 1


def _grind(instance: dg.DagsterInstance, first: str, last: str) -> dg.ExecuteInProcessResult:
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return RANGE.resolve_job_def("grind").execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def _what_readers_see(instance: dg.DagsterInstance) -> list[Any]:
    """What a page of the UI asks for: dates by status, their metadata, tags and order, the last events, the check."""
    assert _grind(instance, "2017-01-03", "2017-01-05").success
    failed = _grind(instance, "2017-01-01", "2017-01-02")
    assert not failed.success
    (check,) = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(stones.key, "is_heavy"), limit=1
    )
    seen: list[Any] = [check.run_id == failed.run_id, check.status]
    for asset in (stones.key, sand.key):
        records = instance.fetch_materializations(asset, limit=9).records
        (record,) = instance.get_asset_records([asset])
        status = get_and_update_asset_status_cache_value(instance, asset, DAYS)
        assert status is not None
        seen += [
            [
                (
                    event.partition_key,
                    event.asset_materialization.metadata,
                    event.asset_materialization.tags[DATA_VERSION],
                )
                for event in records
                if event.asset_materialization and event.asset_materialization.tags
            ],
            record.asset_entry.last_materialization_storage_id == records[0].storage_id,
            record.asset_entry.last_run_id == failed.run_id,
            sorted(status.deserialize_materialized_partition_subsets(DAYS).get_partition_keys()),
            sorted(status.deserialize_failed_partition_subsets(DAYS).get_partition_keys()),
            len(instance.get_event_tags_for_asset(asset, {DATA_VERSION: "grey"})),
        ]
    planned = [
        [record.partition_key for record in instance.get_event_records(dg.EventRecordsFilter(PLANNED, key))]
        for key in (stones.key, sand.key)
    ]
    types = [
        entry.dagster_event_type for entry in instance.all_logs(failed.run_id) if entry.dagster_event_type != PLANNED
    ]
    return [*seen, planned, Counter(types), types.index(DONE) < types.index(dg.DagsterEventType.STEP_SUCCESS)]


def test_range_stored_in_batches_reads_like_single_events(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    store = KeptSqliteEventLogStorage.store_event_batch

    def counted(self: KeptSqliteEventLogStorage, events: Sequence[dg.EventLogEntry]) -> None:
        batches.append(len(events))
        store(self, events)

    monkeypatch.setattr(KeptSqliteEventLogStorage, "store_event_batch", counted)
    with dg.DagsterInstance.get() as instance:
        together = _what_readers_see(instance)
    # Planned: the dates of two assets, and a check; then each asset's three dates. The other run has two, and fails.
    assert batches == [3, 3, 3, 3, 2]

    with dg.DagsterInstance.get() as instance:
        instance.wipe()
    # Dagster's own storage.
    (home / "dagster.yaml").unlink()
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "0")
    with dg.DagsterInstance.get() as instance:
        alone = _what_readers_see(instance)
    assert len(batches) == 5
    assert together == alone
    assert together[-5:-3] == [["2017-01-01", "2017-01-02"], 0]


@pytest.mark.usefixtures("home")
def test_check_of_a_range_has_one_row() -> None:
    tags = {"dagster/asset_partition_range_start": "2017-01-03", "dagster/asset_partition_range_end": "2017-01-05"}
    with dg.DagsterInstance.get() as instance:
        run = execute_here(RANGE.resolve_job_def("grind"), instance, tags=tags)
        assert run.success
        # Dagster gives the run its dates, because all of its assets have the same.
        assert instance.get_run_by_id(run.run_id).partitions_subset
        check = dg.AssetCheckKey(stones.key, "is_heavy")
        rows = instance.event_log_storage.get_asset_check_execution_history(check, limit=9)
        assert [(row.run_id, row.status.value, row.partition) for row in rows] == [(run.run_id, "SUCCEEDED", None)]


@pytest.mark.usefixtures("home")
def test_single_asset_plans_each_of_its_dates() -> None:
    days = dg.DailyPartitionsDefinition("2017-01-01")
    policy = dg.BackfillPolicy.single_run()

    @dg.asset(partitions_def=days, backfill_policy=policy)
    def alone() -> dg.MaterializeResult:
        return dg.MaterializeResult()

    tags = {"dagster/asset_partition_range_start": "2017-01-01", "dagster/asset_partition_range_end": "2017-01-03"}
    with dg.DagsterInstance.get() as instance:
        assert dg.materialize([alone], instance=instance, tags=tags).success
        planned = instance.get_event_records(dg.EventRecordsFilter(PLANNED, alone.key))
        events = [record.event_log_entry.get_dagster_event() for record in planned]
        assert [record.partition_key for record in planned] == ["2017-01-03", "2017-01-02", "2017-01-01"]
        assert [event.partition for event in events] == ["2017-01-03", "2017-01-02", "2017-01-01"]
