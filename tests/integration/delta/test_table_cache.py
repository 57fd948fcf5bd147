"""Handles that are remembered never know less than the table says."""

import shutil
from pathlib import Path

import narwhals as nw
import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta import table_cache
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.tables import KEY_DATES
from tests.support.rows import on, rows


@pytest.fixture
def location(tmp_path: Path) -> str:
    return str(tmp_path / "raw" / "table")


def write(location: str, *numbers: int, mode: str = "append") -> None:
    pl.DataFrame({"number": numbers}).write_delta(location, mode=mode)  # type: ignore[call-overload]


def numbers(handle: DeltaTable) -> list[int]:
    return pl.scan_delta(handle).collect()["number"].sort().to_list()


def test_table_is_opened_once_for_each_version_that_is_read(location: str) -> None:
    write(location, 1)
    first = table_cache.open_shared(location)
    assert table_cache.open_shared(location) is first
    write(location, 2)
    second = table_cache.open_shared(location)
    assert (numbers(first), numbers(second)) == ([1], [1, 2])
    assert table_cache.open_shared(location, 0) is first
    assert table_cache.open_shared(location) is second


def test_writers_have_their_own_handle(location: str) -> None:
    write(location, 1)
    shared = table_cache.open_shared(location)
    own = table_cache.open_own(location)
    assert own is not shared
    pl.DataFrame({"number": [2]}).write_delta(own, mode="append")
    assert (own.version(), shared.version(), numbers(shared)) == (1, 0, [1])
    assert numbers(table_cache.open_shared(location)) == [1, 2]


def test_earlier_version_is_not_taken_for_the_latest(location: str) -> None:
    write(location, 1)
    write(location, 2)
    assert numbers(table_cache.open_shared(location, 0)) == [1]
    assert numbers(table_cache.open_shared(location)) == [1, 2]


def test_table_that_was_made_anew_is_another_one(location: str) -> None:
    write(location, 1)
    assert numbers(table_cache.open_shared(location)) == [1]
    shutil.rmtree(location)
    with pytest.raises(TableNotFoundError):
        table_cache.open_shared(location)
    write(location, 7)
    assert numbers(table_cache.open_shared(location)) == [7]


def test_commit_that_was_cleaned_up_is_looked_for_again(location: str) -> None:
    write(location, 1)
    write(location, 2)
    DeltaTable(location).create_checkpoint()
    assert numbers(table_cache.open_shared(location)) == [1, 2]
    for commit in Path(location, "_delta_log").glob("*.json"):
        commit.unlink()
    assert numbers(table_cache.open_shared(location)) == [1, 2]


def test_handle_through_which_somebody_wrote_is_not_used_again(location: str) -> None:
    write(location, 1)
    misused = table_cache.open_shared(location)
    pl.DataFrame({"number": [2]}).write_delta(misused, mode="append")
    assert numbers(table_cache.open_shared(location, 0)) == [1]
    assert numbers(table_cache.open_shared(location)) == [1, 2]


def test_few_versions_of_a_busy_table_are_remembered(location: str) -> None:
    for number in range(2 * table_cache._VERSIONS):
        write(location, number)
        table_cache.open_shared(location)
    remembered = [version for place, version in table_cache._handles if place == location]
    assert remembered == list(range(table_cache._VERSIONS, 2 * table_cache._VERSIONS))


def test_written_table_is_read_without_reopening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, day = Lake(str(tmp_path), "UTC"), on("2020-03-01")
    opened: list[str] = []
    own = table_cache.open_own

    def counted(location: str, version: int | None = None) -> DeltaTable:
        opened.append(location)
        return own(location, version)

    sales = nw.from_native(rows(DAILY_SALES, {"order_date": day}).lazy())
    for _ in range(2):
        monkeypatch.setattr(table_cache, "open_own", counted)
        lake.insert_new(RAW_ORDERS, rows(RAW_ORDERS, {}), ("order_id", "updated_at"))
        lake.append(KEY_DATES, rows(KEY_DATES, {}))
        lake.replace_dates([DAILY_SALES], day, day, lambda _: [sales])
        monkeypatch.setattr(table_cache, "open_own", lambda *_: pytest.fail("opened again"))
        tables = (RAW_ORDERS, KEY_DATES, DAILY_SALES)
        assert [nw.to_native(lake.scan(table)).collect().height for table in tables] == [1, len(opened) // 3, 1]


def test_log_has_a_checkpoint_every_ten_commits(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "UTC")
    for _ in range(11):
        lake.append(KEY_DATES, rows(KEY_DATES, {}))
    checkpoints = Path(lake.location(KEY_DATES), "_delta_log").glob("*.checkpoint.parquet")
    assert [int(path.name[:20]) for path in checkpoints] == [9]
