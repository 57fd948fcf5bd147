"""Dagster's event log with engines that are kept: the same files, read and written by whoever comes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from orders_lakehouse.event_log import _KEPT, KeptSqliteEventLogStorage
from orders_lakehouse.instance import prepare_instance
from orders_lakehouse.settings import settings


@dg.asset
def pebble() -> None: ...


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
def test_a_log_that_is_wiped_is_empty_and_goes_on() -> None:
    with dg.DagsterInstance.get() as instance:
        _materialize(instance)
        instance.event_log_storage.wipe()
        assert instance.fetch_materializations(dg.AssetKey("pebble"), limit=9).records == []
        _materialize(instance)
        assert len(instance.fetch_materializations(dg.AssetKey("pebble"), limit=9).records) == 1


def test_it_lies_where_the_default_storage_would_read_it(home: Path) -> None:
    with dg.DagsterInstance.get() as instance:
        _materialize(instance)
    (home / "dagster.yaml").unlink()
    with dg.DagsterInstance.get() as instance:
        assert not isinstance(instance.event_log_storage, KeptSqliteEventLogStorage)
        assert len(instance.fetch_materializations(dg.AssetKey("pebble"), limit=9).records) == 1
