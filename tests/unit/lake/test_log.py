"""A run's own commits, however many others follow them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import narwhals as nw
import pytest

from orders_lakehouse.contracts.tables import DAILY_SALES
from orders_lakehouse.lake import log
from orders_lakehouse.lake.delta import Lake
from orders_lakehouse.lake.log import as_of_run, dates_changed_by
from tests.unit.rows import on, rows

DAY = on("2020-03-02")


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A table that two runs have replaced, the first one long ago; two commits are read at first."""
    monkeypatch.setattr(log, "_RECENT", 2)
    monkeypatch.setattr(log, "_MORE", 2)
    made = Lake(str(tmp_path / "lake"), "UTC")
    for number, run_id in enumerate(["one", *["other"] * 5]):
        sales = nw.from_native(rows(DAILY_SALES, {"orders": number}).lazy())
        made.replace_dates([DAILY_SALES], DAY, DAY, lambda _, sales=sales: [sales], run_id)
    return made


def test_a_run_is_judged_by_its_own_commit_however_many_have_followed(lake: Lake) -> None:
    started = datetime.now(UTC) - timedelta(hours=1)
    assert as_of_run(lake, [DAILY_SALES], "one", started).versions == {DAILY_SALES.path: 1}
    assert dates_changed_by(lake, DAILY_SALES, "one", started) == {DAY}
    assert as_of_run(lake, [DAILY_SALES], "other", started).versions == {DAILY_SALES.path: 6}
    assert as_of_run(lake, [DAILY_SALES], "nobody", started).versions == {}


def test_what_was_committed_before_a_run_started_is_not_read(lake: Lake) -> None:
    started = datetime.now(UTC) + timedelta(hours=1)
    assert as_of_run(lake, [DAILY_SALES], "one", started).versions == {}
