"""Where the lake of the settings begins: the setting, a note on this machine, or what its tables record."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from orders_lakehouse.delta.configured import configured_lake, propose_start
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.settings import settings
from orders_lakehouse.start_notes import noted_start
from orders_lakehouse.tables import RAW

DEFAULT, LATER, OTHER = date(2017, 1, 1), date(2025, 12, 7), date(2026, 1, 1)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, clean_settings: None) -> Path:  # noqa: ARG001
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    return tmp_path


def write_lake(home: Path, start: date | None) -> None:
    Lake(str(home / "lake"), "UTC", start).open(RAW[0])


def test_recorded_start_is_noted_and_used(home: Path) -> None:
    write_lake(home, LATER)
    assert settings().start_date == DEFAULT
    assert configured_lake().start == LATER
    assert settings().start_date == LATER
    # An import of the definitions opens no table.
    printed = subprocess.run(
        [sys.executable, "-c", "from orders_lakehouse.partitions import DAILY; print(DAILY.get_first_partition_key())"],
        env={**os.environ, "LAKE_URL": str(home / "lake")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.strip() == str(LATER)


@pytest.mark.parametrize("recorded", [None, DEFAULT])
def test_lake_with_default_or_no_start_needs_no_note(home: Path, recorded: date | None) -> None:
    write_lake(home, recorded)
    assert configured_lake().start == DEFAULT
    assert noted_start(home, str(home / "lake")) is None


def test_home_that_cannot_be_written_uses_the_recorded_start(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lake(home, LATER)
    monkeypatch.setenv("LAKE_URL", str(home / "lake"))
    (home / "file").touch()
    monkeypatch.setenv("LAKEHOUSE_HOME", str(home / "file" / "home"))
    settings.cache_clear()
    assert configured_lake().start == LATER


def test_given_start_differs_from_recorded_and_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lake(home, LATER)
    monkeypatch.setenv("LAKEHOUSE_START_DATE", str(OTHER))
    settings.cache_clear()
    with pytest.raises(LakeError, match="begins on 2025-12-07, and LAKEHOUSE_START_DATE is 2026-01-01"):
        configured_lake().open(RAW[0])
    assert noted_start(home, str(home / "lake")) is None


@pytest.mark.usefixtures("home")
def test_new_lake_begins_on_the_last_proposed_date() -> None:
    for proposed in (LATER, OTHER):
        propose_start(proposed)
        assert configured_lake().start == settings().start_date == proposed


def test_proposal_changes_no_lake_and_no_setting(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lake(home, DEFAULT)
    propose_start(OTHER)
    assert settings().start_date == DEFAULT
    monkeypatch.setenv("LAKE_URL", str(home / "new"))
    monkeypatch.setenv("LAKEHOUSE_START_DATE", str(LATER))
    settings.cache_clear()
    propose_start(OTHER)
    assert settings().start_date == LATER
    assert noted_start(home, str(home / "new")) is None
