"""Maintenance while others read and write."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta import commits, maintenance
from orders_lakehouse.delta.maintenance import maintain_table
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.tables import CHECK_RESULTS, KEY_DATES
from tests.support.rows import rows
from tests.support.small_files import (
    DAYS,
    KEEP,
    LONG_ON_S3,
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


class TestBesideOthers:
    @pytest.mark.parametrize("lake", LONG_ON_S3, indirect=True)
    def test_dates_lost_to_another_writer_are_tried_again(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        captured_twice(lake)
        claiming, calls = commits.claiming_commit, [0]

        def interrupted(handle: DeltaTable, what: str, *arguments: Any) -> Any:
            if what == "compacted" and calls[0] < 1:
                calls[0] += 1
                learn(lake, an_order(100, DAYS[0]))
            return claiming(handle, what, *arguments)

        monkeypatch.setattr(commits, "claiming_commit", interrupted)
        done = maintain_table(lake, RAW_ORDERS, KEEP)
        assert done is not None
        assert (calls, done.left, done.after.files) == ([1], 0, len(DAYS))
        assert rows_in(lake, RAW_ORDERS).height == 2 * len(DAYS) + 1

    def test_dates_always_lost_to_others_are_left(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        captured_twice(lake)
        before = rows_in(lake, RAW_ORDERS)
        monkeypatch.setattr(maintenance, "compact", lambda *_: False)
        done = maintain_table(lake, RAW_ORDERS, KEEP)
        assert done is not None
        assert (done.compacted, done.left) == (0, len(DAYS))
        assert rows_in(lake, RAW_ORDERS).equals(before)

    @pytest.mark.parametrize("lake", LONG_ON_S3, indirect=True)
    def test_writer_whose_files_are_rewritten_derives_again(self, lake: Lake) -> None:
        followed(lake, len(DAYS))
        lake.append(DAILY_SALES, rows(DAILY_SALES, {"order_date": DAYS[0], "currency": "by hand"}))
        calls = [0]

        def derive(_: Lake) -> list[nw.LazyFrame[Any]]:
            calls[0] += 1
            if calls[0] == 1:
                maintain_table(lake, DAILY_SALES, KEEP)
            return [nw.from_native(rows(DAILY_SALES, {"order_date": DAYS[0], "currency": "new"}).lazy())]

        lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[0], derive)
        assert calls == [2]
        assert sorted(rows_in(lake, DAILY_SALES)["currency"]) == ["new", "o00001", "o00002", "o00003"]

    @pytest.mark.parametrize("ours_first", [True, False])
    def test_beside_manual_optimize_one_of_two_reports_a_conflict(
        self, lake: Lake, monkeypatch: pytest.MonkeyPatch, ours_first: bool
    ) -> None:
        captured_twice(lake)
        before = rows_in(lake, RAW_ORDERS)
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
        assert rows_in(lake, RAW_ORDERS).equals(before)
        assert files_in(lake, RAW_ORDERS) == len(DAYS)

    @pytest.mark.parametrize(
        ("lake", "table"),
        [("disk", RAW_ORDERS), ("disk", CHECK_RESULTS), ("s3", RAW_ORDERS)],
        indirect=["lake"],
        ids=["disk, with dates", "disk, without dates", "s3"],
    )
    def test_two_concurrent_maintainers_leave_every_row_once(self, lake: Lake, table: Table) -> None:
        for number in range(8):
            if table is RAW_ORDERS:
                lake.insert_new(table, rows(table, an_order(number, DAYS[number % 4])), ("order_id", "updated_at"))
            else:
                nothing: dict[str, Any] = dict.fromkeys(table.columns)
                lake.append(table, pl.DataFrame([{**nothing, "asset": str(number)}], schema=table.schema))
        before = rows_in(lake, table)
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
        assert rows_in(lake, table).equals(before)
        assert files_in(lake, table) == (1 if table is CHECK_RESULTS else len(DAYS))


# Other processes find these functions by their names in this module.
def _write_orders(url: str, aws: dict[str, str], writer: int, day: date, orders: int) -> None:
    """Learn of orders, one after the other, and derive their date each time."""
    os.environ.update(aws)
    lake = Lake(url, "UTC")
    for number in range(orders):
        learn(lake, an_order(1000 * writer + number, day))
        derive(lake, day, day)


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
    followed(lake, 2)
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
    assert sorted(rows_in(lake, RAW_ORDERS).select("order_id", "captured_on").rows()) == sorted(known)
    assert sorted(rows_in(lake, DAILY_SALES).select("currency", "order_date").rows()) == sorted(known)
    entries = rows_in(lake, KEY_DATES).select("key", "captured_on").unique()
    assert sorted(entries.rows()) == sorted(known)
