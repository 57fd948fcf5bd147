"""Care of tables: few files, a short log, old files gone; and whoever reads or writes beside it does not notice."""

import time
from pathlib import Path

import polars as pl
import pytest

from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta import maintenance, object_store
from orders_lakehouse.delta.log import dates_changed_since, extent, parts_of_run
from orders_lakehouse.delta.maintenance import maintain_table
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.pipeline.affected_dates import affected_dates, versions_now
from orders_lakehouse.pipeline.capture import capture
from orders_lakehouse.tables import KEY_DATES
from tests.support.lakehouse import Lakehouse
from tests.support.rows import rows
from tests.support.small_files import (
    CALENDAR,
    DAYS,
    FIRST,
    KEEP,
    LONG_ON_S3,
    PLACES,
    TABLES,
    THOROUGH,
    an_order,
    captured_twice,
    derive,
    files_in,
    followed,
    learn,
    rows_in,
)
from tests.support.terminal import Command


@pytest.mark.parametrize("lake", LONG_ON_S3, indirect=True)
@pytest.mark.parametrize("runs", [20, pytest.param(500, marks=THOROUGH)])
def test_many_small_runs_end_with_as_few_files_as_a_backfill(lake: Lake, runs: int, tmp_path: Path) -> None:
    followed(lake, runs)
    fresh = Lake(str(tmp_path / "fresh"), "UTC")
    learn(fresh, *(an_order(number, DAYS[number % len(DAYS)]) for number in range(runs)))
    derive(fresh, DAYS[0], DAYS[-1])

    marks, before = versions_now(lake), {table: rows_in(lake, table) for table in TABLES}
    handles = {table: lake.find(table) for table in TABLES}
    plans = {table: lake.scan(table).to_native() for table in TABLES}
    seen = {table: lake.find(table, handle.version() // 2) for table, handle in handles.items()}
    half = {
        table: lake.scan_at(handle, table, DAYS).to_native() for table, handle in seen.items() if table != KEY_DATES
    }
    rows_of_half = {table: plan.collect() for table, plan in half.items()}
    assert files_in(lake, *TABLES) > 2 * files_in(fresh, *TABLES)

    done = [maintain_table(lake, table, KEEP) for table in TABLES]
    assert [one.left for one in done if one] == [0, 0, 0]
    assert files_in(lake, *TABLES) <= 2 * files_in(fresh, *TABLES)
    for table in TABLES:
        assert rows_in(lake, table).equals(before[table])
        assert rows_in(lake, table).equals(rows_in(fresh, table))
        # Who had opened the table before reads what it was.
        assert plans[table].collect().sort(before[table].columns).equals(before[table])
        assert object_store.scan(handles[table]).select(pl.len()).collect().item() == before[table].height
    for table, plan in half.items():
        assert plan.collect().sort(plan.collect_schema().names()).equals(rows_of_half[table].sort(pl.all()))

    # Who follows the tables has nothing to do for it.
    assert affected_dates(lake, marks, CALENDAR) == []
    for table in (RAW_ORDERS, DAILY_SALES):
        assert dates_changed_since(lake, lake.find(table), table, handles[table].version()) == []
    # And what changed before, between and after is seen.
    learn(lake, an_order(runs, DAYS[1]))
    maintain_table(lake, RAW_ORDERS, KEEP)
    learn(lake, an_order(runs + 1, DAYS[2]))
    assert affected_dates(lake, marks, CALENDAR) == [DAYS[1], DAYS[2]]
    assert maintain_table(lake, RAW_ORDERS, KEEP) is not None
    assert affected_dates(lake, marks, CALENDAR) == [DAYS[1], DAYS[2]]
    assert affected_dates(lake, versions_now(lake), CALENDAR) == []


def test_maintenance_without_work_makes_no_commit(lake: Lake) -> None:
    assert maintain_table(lake, RAW_ORDERS, KEEP) is None
    learn(lake, *(an_order(number, day) for number, day in enumerate(DAYS)))
    for table in (RAW_ORDERS, KEY_DATES):
        version = lake.find(table).version()
        done = maintain_table(lake, table, KEEP)
        assert done is not None
        assert done.before == done.after
        assert (done.compacted, done.left, done.removed, lake.find(table).version()) == (0, 0, 0, version)


@pytest.mark.parametrize("lake", PLACES, indirect=True)
def test_compaction_rewrites_small_files_and_keeps_extra_columns(lake: Lake) -> None:
    extras = pl.DataFrame({"gift": [True]})
    capture(lake, RAW_ORDERS, rows(RAW_ORDERS, an_order(2, DAYS[0])), CALENDAR, extras)
    learn(lake, an_order(1, DAYS[0]), an_order(3, DAYS[1]))
    before = files_of(lake.find(RAW_ORDERS), RAW_ORDERS)
    done = maintain_table(lake, RAW_ORDERS, KEEP)
    assert done is not None
    assert (done.before.files, done.after.files, done.compacted) == (3, 2, 1)
    after = files_of(lake.find(RAW_ORDERS), RAW_ORDERS)
    assert after.join(before, on="path", how="semi")["date"].to_list() == [DAYS[1]]
    stored = object_store.scan(lake.find(RAW_ORDERS)).filter(captured_on=DAYS[0]).collect()
    assert stored.select("order_id", "gift").rows() == [("o00001", None), ("o00002", True)]


def test_dates_larger_than_memory_become_few_files(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_ROWS", 2)
    monkeypatch.setattr(maintenance, "_ROWS_OF_COMMIT", 5)
    captured_twice(lake)
    before = rows_in(lake, RAW_ORDERS)
    version = lake.find(RAW_ORDERS).version()
    done = maintain_table(lake, RAW_ORDERS, KEEP)
    assert done is not None
    assert (done.compacted, lake.find(RAW_ORDERS).version() - version) == (4, 2)
    assert files_in(lake, RAW_ORDERS) == 4
    assert rows_in(lake, RAW_ORDERS).equals(before)


def test_large_file_is_not_written_again_with_every_small_one(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    captured_twice(lake)
    monkeypatch.setattr(maintenance, "_ENOUGH_BYTES", 1)
    done = maintain_table(lake, RAW_ORDERS, KEEP)
    assert done is not None
    assert done.compacted == 0


def test_table_page_shows_last_change_and_files(lake: Lake) -> None:
    followed(lake, 2 * len(DAYS))
    started = extent(lake.find(DAILY_SALES), DAILY_SALES).changed_at
    learn(lake, an_order(100, DAYS[0]))
    derive(lake, DAYS[0], DAYS[0], "the run")
    lake.find(DAILY_SALES).delete("order_date = '2020-03-02' and currency = 'o00001'")
    changed_at, version = extent(lake.find(RAW_ORDERS), RAW_ORDERS).changed_at, lake.find(RAW_ORDERS).version()
    time.sleep(0.01)
    for table in (RAW_ORDERS, DAILY_SALES):
        maintain_table(lake, table, 60)
    now = extent(lake.find(RAW_ORDERS), RAW_ORDERS)
    assert now.version > version
    assert now.changed_at == changed_at
    (part,) = parts_of_run(lake, [DAILY_SALES], "the run", started, (DAYS[0], DAYS[0]))
    assert part.lake.versions[RAW_ORDERS.path] == version


def test_layer_job_reports_savings_on_each_table(lakehouse: Lakehouse) -> None:
    for number in range(3):
        learn(lakehouse.lake, an_order(number, FIRST))
    result = lakehouse.run_job("maintain_raw_job")
    assert result.success
    (observed,) = [event.asset_observation_data.asset_observation for event in result.get_asset_observation_events()]
    assert observed.asset_key.path == ["raw", "orders"]
    told = {name: value.value for name, value in observed.metadata.items()}
    assert (told["files_before"], told["files_after"], told["partitions_compacted"]) == (3, 1, 1)
    assert told["files_in_all_after"] == 4
    assert told["bytes_after"] < told["bytes_before"]
    assert told["log_entries_after"] == told["log_entries_before"] + 1
    assert files_in(lakehouse.lake, RAW_ORDERS, KEY_DATES) == 2


def test_command_maintains_existing_tables_and_prints_savings(command: Command, tmp_path: Path) -> None:
    assert command("maintain")[:2] == (0, f"There is no table yet in {tmp_path}/lake.\n")
    followed(Lake(str(tmp_path / "lake"), "UTC"), 2 * len(DAYS))
    status, said, _ = command("maintain", "--layer", "raw")
    assert status == 0
    lines = {line.split()[0]: line for line in said.splitlines()[2:]}
    assert list(lines) == ["raw/orders", "raw/key_dates"]
    assert "8 → 4" in lines["raw/orders"]
    assert "8 → 1" in lines["raw/key_dates"]
    assert "curated/daily_sales" in command("maintain")[1]


def test_versions_cannot_be_kept_for_less_than_a_week(command: Command) -> None:
    status, _, errors = command("maintain", LAKEHOUSE_RETENTION_DAYS="6")
    assert status == 1
    assert "LAKEHOUSE_RETENTION_DAYS: Input should be greater than or equal to 7" in errors
