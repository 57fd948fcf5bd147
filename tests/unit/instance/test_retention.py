"""What stays of older runs, and what goes: decisions, and files of LAKEHOUSE_HOME."""

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orders_lakehouse.instance.retention import (
    ATTEMPTED,
    KEPT_FAILURES,
    MATERIALIZED,
    OBSERVED,
    NewestEvent,
    leftover_files,
    needed_events,
    tidy_after_dbt,
)
from orders_lakehouse.runtime.dbt_server import FOLDER_PREFIX, SOCKET
from orders_lakehouse.settings import settings

PLANNED, FAILED = ATTEMPTED
RUN = "5cf4c3a1-7c2b-4f0e-8f9f-0a8c4f0f2f11"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_settings: None) -> Iterator[Path]:  # noqa: ARG001
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    settings.cache_clear()
    return tmp_path


def event(id_: int, type_: str, partition: str | None = "2017-01-01", asset: str = "orders") -> NewestEvent:
    return NewestEvent(asset, partition, type_, id_)


def test_newest_events_of_each_date_stay() -> None:
    dates = [event(1, MATERIALIZED), event(2, MATERIALIZED, "2017-01-02")]
    assert needed_events([*dates, event(3, OBSERVED), event(4, MATERIALIZED, None)]) == {1, 2, 3, 4}


@pytest.mark.parametrize("attempt", ATTEMPTED)
def test_attempt_stays_until_a_materialization_follows(attempt: str) -> None:
    later = event(9, attempt, "2017-01-09")
    assert needed_events([event(1, MATERIALIZED), event(2, attempt), later]) == {1, 2, 9}
    assert needed_events([event(2, MATERIALIZED), event(1, attempt), later]) == {2, 9}
    assert needed_events([event(1, attempt), later]) == {1, 9}


def test_another_asset_or_date_does_not_count() -> None:
    events = [event(1, PLANNED), event(2, MATERIALIZED, "2017-01-02"), event(3, MATERIALIZED, asset="payments")]
    assert needed_events([*events, event(4, PLANNED, "2017-01-02")]) == {1, 2, 3, 4}


def test_newest_attempt_of_an_asset_stays() -> None:
    assert needed_events([event(1, PLANNED), event(2, MATERIALIZED)]) == {1, 2}


def _build(home: Path, name: str, age: float = 0) -> Path:
    folder = home / "dbt" / name
    folder.mkdir(parents=True)
    (folder / "dbt.log").write_text("said")
    os.utime(folder, (time.time() - age, time.time() - age))
    return folder


def test_artifacts_go_with_a_build_that_succeeded(home: Path) -> None:
    parsed = home / "dbt" / "partial_parse.msgpack"
    built, other = _build(home, "facts-5cf4c3a-1"), _build(home, "facts-5cf4c3b-2")
    parsed.touch()
    tidy_after_dbt(built, failed=False)
    assert not built.exists()
    assert other.exists()
    assert parsed.exists()


def test_last_builds_that_failed_stay(home: Path) -> None:
    builds = [_build(home, f"facts-5cf4c3a-{number}", age=100 - number) for number in range(KEPT_FAILURES + 2)]
    tidy_after_dbt(builds[-1], failed=True)
    assert [build.exists() for build in builds] == [False, False, *[True] * KEPT_FAILURES]


def test_all_artifacts_stay_if_configured(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKEHOUSE_DBT_ARTIFACTS", "all")
    settings.cache_clear()
    old = [_build(home, f"facts-{RUN[:7]}-{number}", age=90_000) for number in range(KEPT_FAILURES + 2)]
    gone = _build(home, "facts-0000000-1", age=90_000)
    young = _build(home, "facts-0000001-1")
    tidy_after_dbt(old[0], failed=False)
    assert all(build.exists() for build in (*old, gone, young))
    assert list(leftover_files({RUN}, {RUN})) == [gone]


def test_missing_home_has_no_leftovers(home: Path) -> None:
    assert list(leftover_files({RUN}, {RUN})) == []
    assert list(home.iterdir()) == []


def test_folders_of_dbt_servers_killed_a_day_ago_are_leftovers(home: Path) -> None:
    folders = []
    for name, age in (("old", 90_000), ("young", 0)):
        folder = home / "tmp" / f"{FOLDER_PREFIX}{name}"
        folder.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / SOCKET))
        os.utime(folder, (time.time() - age, time.time() - age))
        folders.append(folder)
    # Somebody else's may have the same prefix.
    (home / "tmp" / f"{FOLDER_PREFIX}else").mkdir()
    os.utime(home / "tmp" / f"{FOLDER_PREFIX}else", (0, 0))
    assert list(leftover_files((), ())) == folders[:1]
