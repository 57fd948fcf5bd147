"""What people are told of dates that a sensor asks for in vain."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from orders_lakehouse.pipeline.date_queue import DateQueue, Failure
from orders_lakehouse.pipeline.failing_requests import (
    RepeatedFailure,
    refused_tables,
    repeated_failures,
    save_failures,
    save_refused,
    saved_failures,
    saved_refused,
)
from orders_lakehouse.settings import settings
from orders_lakehouse.sources.base import RefusedTable

pytestmark = pytest.mark.usefixtures("clean_settings")

FIRST, LAST = date(2017, 3, 1), date(2017, 3, 2)
SINCE = datetime(2017, 6, 1, 12, tzinfo=UTC)
SENSOR = "touched_dates_sensor"
STATE = DateQueue(failures=dict.fromkeys((FIRST, LAST), Failure(4, SINCE, "some run", "no space left")))
ONE = RepeatedFailure(SENSOR, "derive_dates_job", FIRST, LAST, 4, SINCE, "some run", "no space left")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    settings.cache_clear()
    return tmp_path


def test_report_says_what_is_requested_since_when_and_next_step() -> None:
    assert repeated_failures(SENSOR, STATE) == [ONE]
    assert ONE.in_words == (
        "2017-03-01 to 2017-03-02: 4 runs of derive_dates_job have failed since 2017-06-01 12:00 UTC"
    )
    assert ONE.next_step() == (
        "`make dev` and run some run show the details. Once the cause is fixed, the sensor's next run succeeds; "
        "to run at once: lakehouse backfill 2017-03-01 2017-03-02 --job derive_dates_job"
    )


def test_occasional_failure_is_not_in_vain() -> None:
    assert repeated_failures(SENSOR, DateQueue(failures={FIRST: Failure(2, SINCE, None, "killed")})) == []


def test_sensor_notes_are_readable_until_a_run_succeeds(home: Path) -> None:
    assert saved_failures() == []
    other = RepeatedFailure("shop_changes_sensor", "capture_changes_job", FIRST, FIRST, 9, SINCE, None, "nowhere")
    save_failures(SENSOR, [ONE])
    save_failures("shop_changes_sensor", [other])
    assert saved_failures() == [other, ONE]
    save_failures(SENSOR, [])
    save_failures(SENSOR, [])
    assert saved_failures() == [other]
    assert [path.name for path in (home / "sensors").iterdir()] == ["shop_changes_sensor.json"]


def test_known_note_is_not_written_again(home: Path) -> None:
    save_failures(SENSOR, [ONE])
    (file,) = (home / "sensors").iterdir()
    before = file.stat().st_mtime_ns, file.stat().st_ino
    save_failures(SENSOR, [ONE])
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before


def test_refused_tables_are_read_from_marks_of_either_sensor() -> None:
    mark = {"refused": {"since": SINCE.isoformat(), "error": "permission denied"}}
    # A table that is followed, one of an older cursor, and a version of a table of the lake.
    marks = {"orders": {"since": None, "dates": {}}, "products": {"followed": False}, "raw/orders": ["id", 3]}
    assert refused_tables(DateQueue(marks=marks)) == []
    (refused,) = refused_tables(DateQueue(marks={**marks, "payments": mark}))
    assert refused == RefusedTable("payments", SINCE, "permission denied")
    assert refused.in_words == "payments is not followed since 2017-06-01 12:00 UTC: permission denied"


def test_refused_tables_are_readable_beside_requests_in_vain(home: Path) -> None:
    refused = RefusedTable("payments", SINCE, "permission denied")
    save_failures(SENSOR, [ONE])
    save_refused("shop_changes_sensor", [refused])
    assert (saved_failures(), saved_refused()) == ([ONE], [refused])
    save_refused("shop_changes_sensor", [])
    assert (saved_failures(), saved_refused()) == ([ONE], [])
    assert [path.name for path in (home / "sensors").iterdir()] == [f"{SENSOR}.json"]
