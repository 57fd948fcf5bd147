"""A run's own commits, however many others follow them."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import narwhals as nw
import pytest

from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta import log
from orders_lakehouse.delta.log import dates_changed_by, parts_of_run
from orders_lakehouse.delta.tables import Lake
from tests.support.rows import on, rows

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


def _parts(lake: Lake, run_id: str, first: date = DAY, last: date = DAY, hours: int = 1) -> list[tuple[Any, ...]]:
    """First and last date, and the version of the table, of each part of a run that began some hours ago."""
    started = datetime.now(UTC) - timedelta(hours=hours)
    parts = parts_of_run(lake, [DAILY_SALES], run_id, started, (first, last))
    return [(*part.dates, part.lake.versions.get(DAILY_SALES.path)) for part in parts]


def test_run_is_judged_by_its_own_commit_despite_later_ones(lake: Lake) -> None:
    assert _parts(lake, "one") == [(DAY, DAY, 1)]
    assert dates_changed_by(lake, DAILY_SALES, "one", datetime.now(UTC) - timedelta(hours=1)) == {DAY}
    assert _parts(lake, "other") == [(DAY, DAY, 6)]
    assert _parts(lake, "nobody") == [(DAY, DAY, None)]


def test_commits_before_the_run_are_not_read(lake: Lake) -> None:
    assert _parts(lake, "one", hours=-1) == [(DAY, DAY, None)]


def test_batches_of_a_run_are_one_part_without_other_writers(lake: Lake) -> None:
    for number in range(4):
        # Two are worked on at once, so they end in any order.
        _replace(lake, "portions", DAY + (number ^ 1) * timedelta(days=1))
    assert _parts(lake, "portions", DAY, DAY + timedelta(days=3)) == [(DAY, DAY + timedelta(days=3), 10)]


def test_write_of_another_run_divides_a_run(lake: Lake) -> None:
    days = [DAY + number * timedelta(days=1) for number in range(4)]
    _replace(lake, "divided", days[0])
    _replace(lake, "divided", days[1])
    _replace(lake, "in between", days[0])
    _replace(lake, "divided", days[3])
    assert _parts(lake, "divided", days[0], days[3]) == [
        (days[0], days[0], 7),
        (days[1], days[1], 8),
        (days[2], days[2], None),
        (days[3], days[3], 10),
    ]


def _replace(lake: Lake, run_id: str, day: date) -> None:
    sales = nw.from_native(rows(DAILY_SALES, {"order_date": day}).lazy())
    lake.replace_dates([DAILY_SALES], day, day, lambda _: [sales], run_id)
