"""Dagster's history is pruned: older runs go, and what the UI shows of assets, dates and checks stays."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value
from dagster._core.test_utils import in_process_test_workspace
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._utils.error import SerializableErrorInfo
from dagster_graphql.test.utils import execute_dagster_graphql

from orders_lakehouse.instance import pruning
from orders_lakehouse.instance.home import prepare_instance
from orders_lakehouse.instance.pruning import Pruned, prune_history, shrink_files
from orders_lakehouse.runtime import stored_history
from orders_lakehouse.settings import settings
from tests.support.ui_history import LATEST, OF_AN_ASSET

pytestmark = pytest.mark.slow

DAYS = dg.DailyPartitionsDefinition("2017-01-01", end_date="2017-01-07")
KEEP = 2
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dg.asset
def pebble() -> dg.MaterializeResult:
    return dg.MaterializeResult(metadata={"weight": 1})


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def stones(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    if "break" in context.run.tags:
        raise dg.Failure("too hard")
    for key in context.partition_keys:
        context.log_event(dg.AssetObservation(stones.key, partition=key, metadata={"seen": 1}))
    return dg.MaterializeResult(metadata={"run": context.run_id}, data_version=dg.DataVersion(context.run_id))


@dg.asset_check(asset=stones)
def is_heavy() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True, metadata={"kilos": 3})


@dg.sensor(asset_selection="*")
def watch() -> None: ...


defs = dg.Definitions(
    [pebble, stones],
    asset_checks=[is_heavy],
    jobs=[dg.define_asset_job("carve", [stones]), dg.define_asset_job("pick", [pebble])],
    sensors=[watch],
)

HERE = LoadableTargetOrigin(python_file=__file__, attribute="defs")


ANY_STORAGE = pytest.mark.parametrize("instance", ["sqlite", "sqlite of Dagster", "postgres"], indirect=True)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.thorough)])
def instance(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    settings.cache_clear()
    home = Path(prepare_instance())
    if request.param != "sqlite":
        configuration = yaml.safe_load((home / "dagster.yaml").read_text())
        del configuration["event_log_storage"]
        if request.param == "postgres":
            url: str = request.getfixturevalue("postgres_url_factory")("history")
            configuration["storage"] = {"postgres": {"postgres_url": _for_psycopg2(url)}}
        (home / "dagster.yaml").write_text(yaml.safe_dump(configuration))
    with dg.DagsterInstance.get() as made:
        yield made
    settings.cache_clear()


def _for_psycopg2(url: str) -> str:
    parts = urlsplit(url)
    # SQLAlchemy's own choice is a driver that nothing else here needs.
    return f"postgresql+psycopg2://postgres@/{parts.path.strip('/')}?host={parse_qs(parts.query)['host'][0]}"


def run(instance: dg.DagsterInstance, first: str, last: str | None = None, **tags: str) -> str:
    dates = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last or first}
    carve = defs.resolve_job_def("carve")
    return carve.execute_in_process(QUIET, instance=instance, tags={**dates, **tags}, raise_on_error=False).run_id


def pick(instance: dg.DagsterInstance) -> str:
    return defs.resolve_job_def("pick").execute_in_process(QUIET, instance=instance).run_id


def history(instance: dg.DagsterInstance) -> list[str]:
    """Seven runs, of which the last two are the newest that keep everything."""
    return [
        run(instance, "2017-01-01"),
        run(instance, "2017-01-02", **{"break": "yes"}),
        run(instance, "2017-01-01"),
        pick(instance),
        run(instance, "2017-01-03", "2017-01-05"),
        run(instance, "2017-01-03"),
        run(instance, "2017-01-04"),
    ]


def shown(instance: dg.DagsterInstance) -> list[Any]:
    """What the UI shows of the assets, by its own queries and the calls behind them."""
    seen: list[Any] = []
    with in_process_test_workspace(instance, HERE) as context:
        for asset in (stones.key, pebble.key):
            # The cache, too, is made anew by Dagster when partitions change, or somebody asks it to.
            instance.wipe_asset_cached_status([asset])
            asked = {"key": {"path": asset.path}, "partitions": DAYS.get_partition_keys()}
            seen.append(execute_dagster_graphql(context, OF_AN_ASSET, asked).data)
        seen.append(
            execute_dagster_graphql(context, LATEST, {"keys": [{"path": ["stones"]}, {"path": ["pebble"]}]}).data
        )
    for asset in (stones.key, pebble.key):
        (record,) = instance.get_asset_records([asset])
        latest = instance.get_latest_materialization_event(asset)
        seen += [latest and latest.run_id, record.asset_entry.last_run_id]
    status = get_and_update_asset_status_cache_value(instance, stones.key, DAYS)
    assert status is not None
    versions = instance.event_log_storage.get_latest_tags_by_partition(
        stones.key, dg.DagsterEventType.ASSET_MATERIALIZATION, ["dagster/data_version"]
    )
    check = instance.event_log_storage.get_latest_asset_check_execution_by_key([is_heavy.check_key])
    return [
        *seen,
        sorted(status.deserialize_materialized_partition_subsets(DAYS).get_partition_keys()),
        sorted(status.deserialize_failed_partition_subsets(DAYS).get_partition_keys()),
        versions,
        sorted(instance.get_materialized_partitions(stones.key)),
        check[is_heavy.check_key].run_id,
        instance.get_latest_asset_check_evaluation_record(is_heavy.check_key),
    ]


def files(instance: dg.DagsterInstance) -> dict[str, int]:
    home = Path(instance.root_directory)
    return {str(path.relative_to(home)): path.stat().st_size for path in home.rglob("*") if path.is_file()}


@ANY_STORAGE
def test_dates_checks_and_versions_stay_as_they_were(instance: dg.DagsterInstance) -> None:
    first, broken, second, picked, three, again, last = history(instance)
    before, runs = shown(instance), set(instance.get_run_ids())
    assert before[0]["assetNodeOrError"]["partitionStats"] == {"numMaterialized": 4, "numFailed": 1, "numPartitions": 6}

    announced = prune_history(instance, KEEP, dry_run=True)
    assert set(instance.get_run_ids()) == runs
    assert shown(instance) == before
    done = prune_history(instance, KEEP)
    assert (announced.runs, announced.trimmed, announced.events, announced.evaluations) == (
        done.runs,
        done.trimmed,
        done.events,
        done.evaluations,
    )

    assert shown(instance) == before
    # The first is superseded; the broken one is why its date shows as failed; the others have the newest of a date.
    assert set(instance.get_run_ids()) == {broken, second, picked, three, again, last}
    assert (done.runs, done.trimmed) == (1, 4)
    types = Counter(entry.dagster_event_type for entry in instance.all_logs(last))
    assert types[dg.DagsterEventType.STEP_SUCCESS] == 2
    if type(instance.event_log_storage) is not SqliteEventLogStorage:
        # Dagster's own storage remembers which files it has made, and fails in this process; a new one makes it anew.
        assert instance.all_logs(first) == []
    if isinstance(instance.event_log_storage, SqliteEventLogStorage):
        assert all(f"history/runs/{run_id}.db" in files(instance) for run_id in (again, last))
        assert not any(f"history/runs/{run_id}.db" in files(instance) for run_id in (broken, second, three))
        # SQLite's files beside an open one go when it is closed.
        assert announced.files >= done.files > 0
    stored = [folder.name for folder in Path(instance.storage_directory()).iterdir()]
    assert set(stored) <= {again, last}
    nothing = prune_history(instance, KEEP)
    assert (nothing.runs, nothing.trimmed, nothing.events, nothing.evaluations) == (0, 0, 0, 0)


def test_run_needed_no_longer_goes_with_the_next_pruning(instance: dg.DagsterInstance) -> None:
    history(instance)
    prune_history(instance, KEEP)
    newest = [run(instance, "2017-01-01", "2017-01-05"), pick(instance)]
    before = shown(instance)
    prune_history(instance, KEEP)
    assert set(instance.get_run_ids()) == set(newest)
    assert shown(instance) == before


def test_unfinished_runs_stay_whole(instance: dg.DagsterInstance) -> None:
    pick_job = defs.resolve_job_def("pick")
    whole = [run(instance, "2017-01-06")]
    for status in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.NOT_STARTED):
        made = instance.create_run_for_job(pick_job, status=status)
        instance.report_engine_event("still at work", made)
        whole.append(made.run_id)
    for _ in range(KEEP + 1):
        run(instance, "2017-01-06")
    before = [len(instance.all_logs(run_id)) for run_id in whole]
    # The first is over, and somebody is told to look at it.
    prune_history(instance, KEEP, whole[:1])
    assert [len(instance.all_logs(run_id)) for run_id in whole] == before
    assert len(instance.get_run_ids()) == len(whole) + KEEP


def test_newest_runless_event_stays(instance: dg.DagsterInstance) -> None:
    for number in range(4):
        instance.report_runless_asset_event(dg.AssetMaterialization(pebble.key, metadata={"weight": number}))
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(stones.key, "is_heavy", passed=number > 2, metadata={"kilos": number})
        )
    for _ in range(KEEP):
        run(instance, "2017-01-01")
    instance.report_runless_asset_event(dg.AssetCheckEvaluation(stones.key, "is_heavy", passed=False, metadata={}))
    before = shown(instance)
    done = prune_history(instance, KEEP)
    # Three materializations; the events of four evaluations, whose rows stand for them.
    assert (done.events, done.evaluations) == (7, 4)
    assert shown(instance) == before
    assert len(instance.fetch_materializations(pebble.key, limit=9).records) == 1
    if isinstance(instance.event_log_storage, SqliteEventLogStorage):
        assert len(instance.all_logs("")) == 1


def test_runs_within_the_limit_lose_nothing(instance: dg.DagsterInstance) -> None:
    history(instance)
    before = files(instance)
    assert prune_history(instance, 8) == Pruned()
    assert files(instance) == before


def test_killed_pruning_is_finished_by_the_next(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    history(instance)
    before, calls_left = shown(instance), 0
    changing = (stored_history, "_delete"), (pruning, "remove"), (type(instance.run_storage), "delete_run")

    def killed(work: Callable[..., Any]) -> Callable[..., Any]:
        def until(*arguments: Any) -> Any:
            nonlocal calls_left
            calls_left -= 1
            if calls_left < 0:
                raise KeyboardInterrupt
            return work(*arguments)

        return until

    kills = 0
    with monkeypatch.context() as killing:
        for owner, name in changing:
            killing.setattr(owner, name, killed(getattr(owner, name)))
        for calls in count():
            calls_left = calls
            with suppress(KeyboardInterrupt):
                prune_history(instance, KEEP)
                break
            assert sorted(instance.get_materialized_partitions(stones.key)) == before[-3]
            kills += 1
    assert kills > 3
    assert shown(instance) == before
    assert len(instance.get_run_ids()) == 6
    nothing = prune_history(instance, KEEP, dry_run=True)
    assert (nothing.runs, nothing.events, nothing.evaluations, nothing.files) == (0, 0, 0, 0)


def test_ids_only_grow(instance: dg.DagsterInstance) -> None:
    history(instance)
    (old,) = instance.fetch_materializations(pebble.key, limit=1).records
    run(instance, "2017-01-06", **{"break": "yes"})
    last = instance.event_log_storage.get_maximum_record_id() or 0
    prune_history(instance, 1)
    pick(instance)
    (new,) = instance.fetch_materializations(pebble.key, limit=1).records
    assert new.storage_id > max(old.storage_id, last)


def test_free_space_is_returned_when_no_run_works(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_FREE_BYTES", 1)
    monkeypatch.setattr(pruning, "_FREE_SHARE", 0.01)
    pick(instance)
    for _ in range(9):
        run(instance, "2017-01-01", "2017-01-06")
    prune_history(instance, 1)
    working = instance.create_run_for_job(defs.resolve_job_def("pick"), status=dg.DagsterRunStatus.STARTED)
    before = shown(instance)
    assert shrink_files(instance) == 0
    given_back = shrink_files(instance, working.run_id)
    assert (given_back > 0) is isinstance(instance.event_log_storage, SqliteEventLogStorage)
    assert shown(instance) == before
    pick(instance)


def test_newest_ticks_stay(instance: dg.DagsterInstance) -> None:
    with in_process_test_workspace(instance, HERE) as context:
        (location,) = context.code_locations
        (repository,) = location.get_repositories().values()
        (sensor,) = [sensor for sensor in repository.get_sensors() if sensor.name == "watch"]
    origin, selector = sensor.get_remote_origin(), sensor.selector_id
    instance.add_instigator_state(InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, None))
    statuses = [
        TickStatus.SUCCESS,
        TickStatus.FAILURE,
        TickStatus.SUCCESS,
        *[TickStatus.SKIPPED] * 5,
        TickStatus.STARTED,
    ]
    now, failure = time.time(), SerializableErrorInfo("odd", [], "ValueError")
    for number, status in enumerate(statuses):
        instance.create_tick(
            TickData(
                origin.get_id(),
                "watch",
                InstigatorType.SENSOR,
                status,
                now - 9 + number,
                run_ids=[],
                error=failure if status is TickStatus.FAILURE else None,
                skip_reason="nothing" if status is TickStatus.SKIPPED else None,
                selector_id=selector,
            )
        )
    logged = Path(instance.storage_directory()) / repository.name / "watch"
    logged.mkdir(parents=True)
    for name, age in (("1.err", 20), ("9.err", 0)):
        (logged / name).touch()
        os.utime(logged / name, (now - age, now - age))
    assert prune_history(instance, KEEP, dry_run=True).ticks == 4
    assert len(instance.get_ticks(origin.get_id(), selector)) == len(statuses)
    done = prune_history(instance, KEEP)
    assert (done.ticks, done.files) == (4, 1)
    left = [tick.status for tick in reversed(instance.get_ticks(origin.get_id(), selector))]
    assert left == [TickStatus.FAILURE, TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.SKIPPED, TickStatus.STARTED]
    assert [path.name for path in logged.iterdir()] == ["9.err"]


def test_files_of_deleted_runs_are_removed(instance: dg.DagsterInstance) -> None:
    home, dead, young = settings().home, "5cf4c3a1-7c2b-4f0e-8f9f-0a8c4f0f2f11", "5cf4c3a1-7c2b-4f0e-8f9f-0a8c4f0f2f12"
    known = pick(instance)
    yesterday = time.time() - 90_000
    (home / "logs").mkdir()
    (home / "dbt").mkdir()
    printed = Path(instance.storage_directory())
    for run_id in (dead, young, known):
        for path in (home / "logs" / f"{run_id}.log", printed / run_id / "compute_logs" / "a.out", home / "dbt" / "x"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("said")
        if run_id != young:
            os.utime(home / "logs" / f"{run_id}.log", (yesterday, yesterday))
            os.utime(printed / run_id, (yesterday, yesterday))
    for name in ("partial_parse.12345", "partial_parse.msgpack"):
        (home / "dbt" / name).write_text("parsed")
        os.utime(home / "dbt" / name, (yesterday, yesterday))
    assert prune_history(instance, KEEP, dry_run=True).files == 3
    assert prune_history(instance, KEEP).files == 3
    assert {path.stem for path in (home / "logs").iterdir()} == {young, known}
    assert {young, known} <= {path.name for path in printed.iterdir()}
    assert not (printed / dead).exists()
    assert sorted(path.name for path in (home / "dbt").iterdir()) == ["partial_parse.msgpack", "x"]
    shutil.rmtree(home / "logs")
