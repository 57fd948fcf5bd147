"""Care of tables: few files, a short log, old files gone; and whoever reads or writes beside it does not notice."""

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import MONEY_SUM, QUANTITY_SUM
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta import commits, maintenance, object_store
from orders_lakehouse.delta.log import at, dates_changed_since, extent, parts_of_run
from orders_lakehouse.delta.maintenance import maintain_table
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.pipeline.affected_dates import affected_dates, versions_now
from orders_lakehouse.pipeline.capture import capture
from orders_lakehouse.tables import CHECK_RESULTS, KEY_DATES
from tests.support.lakehouse import Lakehouse
from tests.support.rows import at as instant
from tests.support.rows import on, rows
from tests.support.terminal import Command

FIRST = on("2020-03-01")
DAYS = [FIRST + timedelta(days=more) for more in range(4)]
CALENDAR = Calendar(on("2020-01-01"), "UTC")
TABLES = (RAW_ORDERS, KEY_DATES, DAILY_SALES)
KEEP = 30


@pytest.fixture
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """On disk, or in a bucket where a test's parameter says so."""
    is_on_s3 = getattr(request, "param", "disk") == "s3"
    return Lake(request.getfixturevalue("bucket") if is_on_s3 else str(tmp_path / "lake"), "UTC")


THOROUGH = (pytest.mark.thorough, pytest.mark.slow)
PLACES = ["disk", "s3"]
LONG_ON_S3 = ["disk", pytest.param("s3", marks=THOROUGH)]


def _order(number: int, day: date) -> Mapping[str, Any]:
    return {"order_id": f"o{number:05}", "ordered_at": instant(f"{day} 10:00"), "captured_on": day}


def _learn(lake: Lake, *orders: Mapping[str, Any]) -> None:
    capture(lake, RAW_ORDERS, rows(RAW_ORDERS, *orders), CALENDAR)


def _derive(lake: Lake, first: date, last: date, run_id: str = "") -> None:
    """A row for each order: what it is derived from is seen in it."""

    def sales(source: Lake) -> list[nw.LazyFrame[Any]]:
        one, nothing = nw.lit(1).cast(nw.Int64), nw.lit(0).cast(nw.Decimal(*MONEY_SUM))
        orders = source.scan(RAW_ORDERS, between=(first, last))
        return [
            orders.select(
                nw.col("captured_on").alias("order_date"),
                nw.col("order_id").alias("currency"),
                orders=one,
                lines=one,
                units=one.cast(nw.Decimal(*QUANTITY_SUM)),
                gross=nothing,
                net=nothing,
            )
        ]

    lake.replace_dates([DAILY_SALES], first, last, sales, run_id)


def _rows(lake: Lake, table: Table) -> pl.DataFrame:
    frame: pl.DataFrame = lake.scan(table).to_native().collect()
    return frame.sort(frame.columns)


def _files(lake: Lake, *tables: Table) -> int:
    return sum(files_of(lake.find(table), table).height for table in tables)


def _followed(lake: Lake, runs: int) -> None:
    """A lake as sensors leave it, that see an order at a time."""
    for number in range(runs):
        day = DAYS[number % len(DAYS)]
        _learn(lake, _order(number, day))
        _derive(lake, day, day)


def _captured_twice(lake: Lake) -> None:
    """Two small files of each day."""
    for turn in range(2):
        orders = [_order(10 * turn + number, day) for number, day in enumerate(DAYS)]
        lake.insert_new(RAW_ORDERS, rows(RAW_ORDERS, *orders), ("order_id", "updated_at"))


@pytest.mark.parametrize("lake", LONG_ON_S3, indirect=True)
@pytest.mark.parametrize("runs", [20, pytest.param(500, marks=THOROUGH)])
def test_many_small_runs_end_with_as_few_files_as_a_backfill(lake: Lake, runs: int, tmp_path: Path) -> None:
    _followed(lake, runs)
    fresh = Lake(str(tmp_path / "fresh"), "UTC")
    _learn(fresh, *(_order(number, DAYS[number % len(DAYS)]) for number in range(runs)))
    _derive(fresh, DAYS[0], DAYS[-1])

    marks, before = versions_now(lake), {table: _rows(lake, table) for table in TABLES}
    handles = {table: lake.find(table) for table in TABLES}
    plans = {table: lake.scan(table).to_native() for table in TABLES}
    seen = {table: lake.find(table, handle.version() // 2) for table, handle in handles.items()}
    half = {
        table: lake.scan_at(handle, table, DAYS).to_native() for table, handle in seen.items() if table != KEY_DATES
    }
    rows_of_half = {table: plan.collect() for table, plan in half.items()}
    assert _files(lake, *TABLES) > 2 * _files(fresh, *TABLES)

    done = [maintain_table(lake, table, KEEP) for table in TABLES]
    assert [one.left for one in done if one] == [0, 0, 0]
    assert _files(lake, *TABLES) <= 2 * _files(fresh, *TABLES)
    for table in TABLES:
        assert _rows(lake, table).equals(before[table])
        assert _rows(lake, table).equals(_rows(fresh, table))
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
    _learn(lake, _order(runs, DAYS[1]))
    maintain_table(lake, RAW_ORDERS, KEEP)
    _learn(lake, _order(runs + 1, DAYS[2]))
    assert affected_dates(lake, marks, CALENDAR) == [DAYS[1], DAYS[2]]
    assert maintain_table(lake, RAW_ORDERS, KEEP) is not None
    assert affected_dates(lake, marks, CALENDAR) == [DAYS[1], DAYS[2]]
    assert affected_dates(lake, versions_now(lake), CALENDAR) == []


def test_maintenance_without_work_makes_no_commit(lake: Lake) -> None:
    assert maintain_table(lake, RAW_ORDERS, KEEP) is None
    _learn(lake, *(_order(number, day) for number, day in enumerate(DAYS)))
    for table in (RAW_ORDERS, KEY_DATES):
        version = lake.find(table).version()
        done = maintain_table(lake, table, KEEP)
        assert done is not None
        assert done.before == done.after
        assert (done.compacted, done.left, done.removed, lake.find(table).version()) == (0, 0, 0, version)


@pytest.mark.parametrize("lake", PLACES, indirect=True)
def test_compaction_rewrites_small_files_and_keeps_extra_columns(lake: Lake) -> None:
    extras = pl.DataFrame({"gift": [True]})
    capture(lake, RAW_ORDERS, rows(RAW_ORDERS, _order(2, DAYS[0])), CALENDAR, extras)
    _learn(lake, _order(1, DAYS[0]), _order(3, DAYS[1]))
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
    _captured_twice(lake)
    before = _rows(lake, RAW_ORDERS)
    version = lake.find(RAW_ORDERS).version()
    done = maintain_table(lake, RAW_ORDERS, KEEP)
    assert done is not None
    assert (done.compacted, lake.find(RAW_ORDERS).version() - version) == (4, 2)
    assert _files(lake, RAW_ORDERS) == 4
    assert _rows(lake, RAW_ORDERS).equals(before)


def test_large_file_is_not_written_again_with_every_small_one(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    _captured_twice(lake)
    monkeypatch.setattr(maintenance, "_ENOUGH_BYTES", 1)
    done = maintain_table(lake, RAW_ORDERS, KEEP)
    assert done is not None
    assert done.compacted == 0


def test_table_page_shows_last_change_and_files(lake: Lake) -> None:
    _followed(lake, 2 * len(DAYS))
    started = extent(lake.find(DAILY_SALES), DAILY_SALES).changed_at
    _learn(lake, _order(100, DAYS[0]))
    _derive(lake, DAYS[0], DAYS[0], "the run")
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


class TestOldFiles:
    """On disk, where the age of things can be made up."""

    @pytest.fixture
    def aged(self, lake: Lake) -> Lake:
        """Four versions of a date, each 10 days after the one before; the last of today."""
        for number in range(4):
            _learn(lake, _order(number, FIRST))
        _made_ago(lake.location(RAW_ORDERS), {0: 60, 1: 60, 2: 40, 3: 20, 4: 0})
        return lake

    def test_files_of_kept_versions_stay(self, aged: Lake) -> None:
        # Another one who brings files together, and whose log forgets after a week which ones it took out.
        location = aged.location(RAW_ORDERS)
        versions = {number: _rows_at(aged, number) for number in (2, 3, 4)}
        maintain_table(aged, RAW_ORDERS, KEEP)
        _made_ago(location, {0: 80, 1: 80, 2: 60, 3: 40, 4: 20, 5: 10})
        DeltaTable(location).create_checkpoint()
        assert len(DeltaTable(location).vacuum(31 * 24, full=True)) == 3, (
            "by their age alone, files that versions need would go"
        )

        done = maintain_table(aged, RAW_ORDERS, KEEP)
        assert done is not None
        assert done.removed == 0
        assert {number: _rows_at(aged, number) for number in (3, 4)} == {n: versions[n] for n in (3, 4)}

    def test_files_of_expired_versions_are_removed(self, aged: Lake) -> None:
        marks = versions_now(aged)
        old = {RAW_ORDERS.path: [marks[RAW_ORDERS.path][0], 2]}
        maintain_table(aged, RAW_ORDERS, KEEP)
        # Everything that was brought together is older than what is kept, and so is that it was.
        _made_ago(aged.location(RAW_ORDERS), {0: 80, 1: 80, 2: 75, 3: 60, 4: 50, 5: 40})
        before = _rows(aged, RAW_ORDERS)
        done = maintain_table(aged, RAW_ORDERS, KEEP)
        assert done is not None
        assert (done.removed, done.after.files, done.after.files_in_all) == (4, 1, 1)
        assert done.after.bytes_in_all < done.before.bytes_in_all
        assert _rows(aged, RAW_ORDERS).equals(before)
        # A version whose files are gone is said to be gone, and not damaged.
        with pytest.raises(LakeError, match="raw/orders has no version 4; its versions are 5 to 7"):
            at(aged, RAW_ORDERS, 4, None)
        # To one who has seen no more than that version, everything is new.
        assert dates_changed_since(aged, aged.find(RAW_ORDERS), RAW_ORDERS, 2) is None
        assert affected_dates(aged, old, CALENDAR) == [FIRST]
        assert affected_dates(aged, marks, CALENDAR) == [FIRST]
        assert affected_dates(aged, versions_now(aged), CALENDAR) == []

    def test_files_of_stopped_writers_are_removed_unless_running(self, aged: Lake) -> None:
        folder = Path(aged.location(RAW_ORDERS), f"captured_on={FIRST}")
        for name, days in (("left", 40), ("written", 1)):
            (folder / f"part-{name}.parquet").write_bytes(b"")
            ago = time.time() - 86400 * days
            os.utime(folder / f"part-{name}.parquet", (ago, ago))
        done = maintain_table(aged, RAW_ORDERS, KEEP)
        assert done is not None
        assert done.removed == 1
        assert [path.name for path in folder.glob("part-[lw]*")] == ["part-written.parquet"]

    def test_log_is_kept_as_long_as_the_setting_says(self, aged: Lake) -> None:
        log = Path(aged.location(RAW_ORDERS), "_delta_log")
        DeltaTable(str(log.parent), version=2).create_checkpoint()
        _made_ago(str(log.parent), {0: 60, 1: 60, 2: 40, 3: 20, 4: 0}, checkpoints=True)
        maintain_table(aged, RAW_ORDERS, 90)
        assert (log / f"{0:020}.json").exists()
        assert aged.find(RAW_ORDERS).metadata().configuration["delta.logRetentionDuration"] == "interval 90 days"
        maintain_table(aged, RAW_ORDERS, KEEP)
        assert not (log / f"{0:020}.json").exists()
        assert _rows_at(aged, 2) == ["o00000", "o00001"]
        assert at(aged, RAW_ORDERS, 2, None).version() == 2

    def test_log_without_checkpoints_gets_one(self, lake: Lake) -> None:
        _followed(lake, 2)
        log = Path(lake.location(RAW_ORDERS), "_delta_log")
        for _ in range(8):
            lake.find(RAW_ORDERS).alter.set_table_description("timezone=UTC contract=1")
        for checkpoint in log.glob("*.checkpoint.parquet"):
            checkpoint.unlink()
        (log / "_last_checkpoint").unlink(missing_ok=True)
        maintain_table(lake, RAW_ORDERS, KEEP)
        assert len(list(log.glob("*.checkpoint.parquet"))) == 1


def _rows_at(lake: Lake, version: int) -> list[str]:
    found: list[str] = object_store.scan(lake.find(RAW_ORDERS, version)).collect()["order_id"].sort().to_list()
    return found


def _made_ago(location: str, ages: Mapping[int, int], *, checkpoints: bool = False) -> None:
    """Have commits, and files that they added, be so many days old; without checkpoints, which know better."""
    log = Path(location, "_delta_log")
    if not checkpoints:
        for path in [*log.glob("*.checkpoint*.parquet"), log / "_last_checkpoint"]:
            path.unlink(missing_ok=True)
    for version, days in ages.items():
        ago = time.time() - 86400 * days
        commit = log / f"{version:020}.json"
        lines = []
        for line in map(json.loads, commit.read_text().splitlines()):
            for action, when in (
                ("add", "modificationTime"),
                ("remove", "deletionTimestamp"),
                ("commitInfo", "timestamp"),
            ):
                if action in line:
                    line[action][when] = int(1000 * ago)
            if "add" in line:
                os.utime(Path(location, line["add"]["path"]), (ago, ago))
            lines.append(json.dumps(line))
        commit.write_text("\n".join(lines))
        for path in log.glob(f"{version:020}.*"):
            os.utime(path, (ago, ago))


class TestBesideOthers:
    @pytest.mark.parametrize("lake", LONG_ON_S3, indirect=True)
    def test_dates_lost_to_another_writer_are_tried_again(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        _captured_twice(lake)
        claiming, calls = commits.claiming_commit, [0]

        def interrupted(handle: DeltaTable, what: str, *arguments: Any) -> Any:
            if what == "compacted" and calls[0] < 1:
                calls[0] += 1
                _learn(lake, _order(100, DAYS[0]))
            return claiming(handle, what, *arguments)

        monkeypatch.setattr(commits, "claiming_commit", interrupted)
        done = maintain_table(lake, RAW_ORDERS, KEEP)
        assert done is not None
        assert (calls, done.left, done.after.files) == ([1], 0, len(DAYS))
        assert _rows(lake, RAW_ORDERS).height == 2 * len(DAYS) + 1

    def test_dates_always_lost_to_others_are_left(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        _captured_twice(lake)
        before = _rows(lake, RAW_ORDERS)
        monkeypatch.setattr(maintenance, "compact", lambda *_: False)
        done = maintain_table(lake, RAW_ORDERS, KEEP)
        assert done is not None
        assert (done.compacted, done.left) == (0, len(DAYS))
        assert _rows(lake, RAW_ORDERS).equals(before)

    @pytest.mark.parametrize("lake", LONG_ON_S3, indirect=True)
    def test_writer_whose_files_are_rewritten_derives_again(self, lake: Lake) -> None:
        _followed(lake, len(DAYS))
        lake.append(DAILY_SALES, rows(DAILY_SALES, {"order_date": DAYS[0], "currency": "by hand"}))
        calls = [0]

        def derive(_: Lake) -> list[nw.LazyFrame[Any]]:
            calls[0] += 1
            if calls[0] == 1:
                maintain_table(lake, DAILY_SALES, KEEP)
            return [nw.from_native(rows(DAILY_SALES, {"order_date": DAYS[0], "currency": "new"}).lazy())]

        lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[0], derive)
        assert calls == [2]
        assert sorted(_rows(lake, DAILY_SALES)["currency"]) == ["new", "o00001", "o00002", "o00003"]

    @pytest.mark.parametrize("ours_first", [True, False])
    def test_beside_manual_optimize_one_of_two_reports_a_conflict(
        self, lake: Lake, monkeypatch: pytest.MonkeyPatch, ours_first: bool
    ) -> None:
        _captured_twice(lake)
        before = _rows(lake, RAW_ORDERS)
        by_hand = DeltaTable(lake.location(RAW_ORDERS))
        if ours_first:
            maintain_table(lake, RAW_ORDERS, KEEP)
            with pytest.raises(CommitFailedError):
                by_hand.optimize.compact()
        else:
            claiming = commits.claiming_commit

            def interrupted(*arguments: Any) -> Any:
                by_hand.optimize.compact()
                return claiming(*arguments)

            monkeypatch.setattr(commits, "claiming_commit", interrupted)
            done = maintain_table(lake, RAW_ORDERS, KEEP)
            assert done is not None
            assert (done.compacted, done.left) == (0, 0)
        assert _rows(lake, RAW_ORDERS).equals(before)
        assert _files(lake, RAW_ORDERS) == len(DAYS)

    @pytest.mark.parametrize(
        ("lake", "table"),
        [("disk", RAW_ORDERS), ("disk", CHECK_RESULTS), ("s3", RAW_ORDERS)],
        indirect=["lake"],
        ids=["disk, with dates", "disk, without dates", "s3"],
    )
    def test_two_concurrent_maintainers_leave_every_row_once(self, lake: Lake, table: Table) -> None:
        for number in range(8):
            if table is RAW_ORDERS:
                lake.insert_new(table, rows(table, _order(number, DAYS[number % 4])), ("order_id", "updated_at"))
            else:
                nothing: dict[str, Any] = dict.fromkeys(table.columns)
                lake.append(table, pl.DataFrame([{**nothing, "asset": str(number)}], schema=table.schema))
        before = _rows(lake, table)
        if not lake.url.startswith("s3://"):
            # Files that both of them remove.
            for number in range(200):
                left = Path(lake.location(table), f"part-{number}.parquet")
                left.write_bytes(b"")
                os.utime(left, (0, 0))
        start = threading.Barrier(2)
        failures: list[BaseException] = []

        def work() -> None:
            start.wait()
            try:
                maintain_table(lake, table, KEEP)
            except BaseException as error:  # noqa: BLE001 (handed to the test)
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert _rows(lake, table).equals(before)
        assert _files(lake, table) == (1 if table is CHECK_RESULTS else len(DAYS))


# What follows runs in other processes, which find it by its name in this module.


def _write_orders(url: str, aws: dict[str, str], writer: int, day: date, orders: int) -> None:
    """Learn of orders, one after the other, and derive their date each time."""
    os.environ.update(aws)
    lake = Lake(url, "UTC")
    for number in range(orders):
        _learn(lake, _order(1000 * writer + number, day))
        _derive(lake, day, day)


def _care_for_ever(url: str, aws: dict[str, str], turns: int) -> int:
    os.environ.update(aws)
    done = [maintain_table(Lake(url, "UTC"), table, KEEP) for _ in range(turns) for table in TABLES]
    return sum(one.compacted for one in done if one is not None)


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(8, get_context("spawn")) as pool:
        yield pool


@pytest.mark.slow
@pytest.mark.xdist_group("care_processes")
@pytest.mark.parametrize(
    ("lake", "writers", "carers", "turns"),
    [
        ("disk", 2, 1, 3),
        pytest.param("s3", 2, 1, 3, marks=THOROUGH),
        pytest.param("disk", 5, 3, 25, marks=THOROUGH),
        pytest.param("s3", 5, 3, 8, marks=THOROUGH),
    ],
    indirect=["lake"],
)
def test_maintenance_beside_writers_keeps_every_row_once(
    lake: Lake, processes: ProcessPoolExecutor, writers: int, carers: int, turns: int
) -> None:
    _followed(lake, 2)
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    # Two of them write the same date, the others another one.
    dates = [DAYS[max(1, writer) % 4] for writer in range(writers)]
    work = [
        processes.submit(_write_orders, lake.url, aws, writer + 1, day, turns)
        for writer, day in enumerate(dates)
        if writer
    ]
    caring = [processes.submit(_care_for_ever, lake.url, aws, turns) for _ in range(carers)]
    # This process is the first of the writers.
    _write_orders(lake.url, aws, 1, dates[0], turns)
    for done in work:
        done.result(timeout=300)
    assert sum(done.result(timeout=300) for done in caring) > 0
    known = [("o00000", DAYS[0]), ("o00001", DAYS[1])]
    known += [(f"o{1000 * (writer + 1) + n:05}", day) for writer, day in enumerate(dates) for n in range(turns)]
    assert sorted(_rows(lake, RAW_ORDERS).select("order_id", "captured_on").rows()) == sorted(known)
    assert sorted(_rows(lake, DAILY_SALES).select("currency", "order_date").rows()) == sorted(known)
    entries = _rows(lake, KEY_DATES).select("key", "captured_on").unique()
    assert sorted(entries.rows()) == sorted(known)


def test_layer_job_reports_savings_on_each_table(lakehouse: Lakehouse) -> None:
    for number in range(3):
        _learn(lakehouse.lake, _order(number, FIRST))
    result = lakehouse.run_job("maintain_raw_job")
    assert result.success
    (observed,) = [event.asset_observation_data.asset_observation for event in result.get_asset_observation_events()]
    assert observed.asset_key.path == ["raw", "orders"]
    told = {name: value.value for name, value in observed.metadata.items()}
    assert (told["files_before"], told["files_after"], told["partitions_compacted"]) == (3, 1, 1)
    assert told["files_in_all_after"] == 4
    assert told["bytes_after"] < told["bytes_before"]
    assert told["log_entries_after"] == told["log_entries_before"] + 1
    assert _files(lakehouse.lake, RAW_ORDERS, KEY_DATES) == 2


def test_command_maintains_existing_tables_and_prints_savings(command: Command, tmp_path: Path) -> None:
    assert command("maintain")[:2] == (0, f"There is no table yet in {tmp_path}/lake.\n")
    _followed(Lake(str(tmp_path / "lake"), "UTC"), 2 * len(DAYS))
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
