"""Rows that are inserted, appended or captured."""

import threading
from typing import Any

import polars as pl
import pytest

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta import object_store, writer
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.pipeline.capture import capture
from orders_lakehouse.tables import KEY_DATES, RAW
from tests.support.rows import at, on, rows
from tests.support.sales import DAYS, IDENTITY, an_order, rows_in


class TestInsertingWhatIsNew:
    def test_inserting_twice_leaves_one(self, lake: Lake) -> None:
        frame = rows(RAW_ORDERS, {}, {"order_id": "o2"})
        assert [lake.insert_new(RAW_ORDERS, frame, IDENTITY) for _ in range(3)] == [2, 0, 0]
        assert rows_in(lake, RAW_ORDERS).equals(frame)

    def test_existing_rows_keep_their_first_capture(self, lake: Lake) -> None:
        lake.insert_new(RAW_ORDERS, an_order(), IDENTITY)
        again = an_order(captured_at=at("2020-03-09 00:00"), run_id="another", source="elsewhere")
        assert lake.insert_new(RAW_ORDERS, again, IDENTITY) == 0
        assert rows_in(lake, RAW_ORDERS).equals(an_order())

    @pytest.mark.parametrize(
        "change",
        [
            {"status": "shipped"},
            {"status": None},
            {"status": " paid"},
            {"shipped_at": at("2020-03-02 11:00")},
            {"deleted_at": at("2020-03-02 11:00")},
            {"updated_at": at("2020-03-02 12:00:00.000001")},
            {"order_id": "O1"},
            {"captured_on": DAYS[5]},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_row_differing_beyond_lineage_is_new(self, lake: Lake, change: dict[str, Any]) -> None:
        lake.insert_new(RAW_ORDERS, an_order(), IDENTITY)
        assert lake.insert_new(RAW_ORDERS, an_order(**change), IDENTITY) == 1
        assert rows_in(lake, RAW_ORDERS).height == 2
        assert lake.insert_new(RAW_ORDERS, an_order(**change), IDENTITY) == 0

    def test_row_that_reverts_is_new(self, lake: Lake) -> None:
        seen = [("paid", 1, 1), ("shipped", 2, 1), ("paid", 3, 1), ("paid", 4, 0)]
        for status, hour, inserted in seen:
            version = an_order(status=status, captured_at=at(f"2020-03-09 0{hour}:00"))
            assert lake.insert_new(RAW_ORDERS, version, IDENTITY) == inserted
        # A capture that began before the last one, and commits after it.
        late = an_order(status="shipped", captured_at=at("2020-03-09 02:30"))
        assert lake.insert_new(RAW_ORDERS, late, IDENTITY) == 0
        assert rows_in(lake, RAW_ORDERS).sort("captured_at")["status"].to_list() == ["paid", "shipped", "paid"]

    def test_null_content_is_equal_to_null_content(self, lake: Lake) -> None:
        identity = {"order_id", "updated_at", "captured_on", "captured_at", "run_id", "source"}
        bare = an_order(**{name: None for name in RAW_ORDERS.columns if name not in identity})
        assert [lake.insert_new(RAW_ORDERS, bare, IDENTITY) for _ in range(2)] == [1, 0]
        assert lake.insert_new(RAW_ORDERS, bare.with_columns(status=pl.lit("paid")), IDENTITY) == 1

    def test_rows_of_several_partitions_are_inserted_at_once(self, lake: Lake) -> None:
        frame = rows(RAW_ORDERS, *({"captured_on": day} for day in DAYS))
        assert lake.insert_new(RAW_ORDERS, frame[:5], IDENTITY) == 5
        assert lake.insert_new(RAW_ORDERS, frame, IDENTITY) == 7
        assert rows_in(lake, RAW_ORDERS).sort("captured_on").equals(frame)

    def test_nothing_new_is_no_commit(self, lake: Lake) -> None:
        assert lake.insert_new(RAW_ORDERS, rows(RAW_ORDERS), IDENTITY) == 0
        assert lake.open(RAW_ORDERS).version() == 0
        assert [lake.insert_new(RAW_ORDERS, an_order(), IDENTITY) for _ in range(2)] == [1, 0]
        assert lake.find(RAW_ORDERS).version() == 1

    def test_racing_inserts_leave_one_of_each_row(self, lake: Lake) -> None:
        lake.open(RAW_ORDERS)
        frame = rows(RAW_ORDERS, *({"order_id": f"o{number}"} for number in range(20)))
        start = threading.Barrier(4)
        inserted: list[int] = []

        def insert() -> None:
            start.wait()
            inserted.append(lake.insert_new(RAW_ORDERS, frame, IDENTITY))

        threads = [threading.Thread(target=insert) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(inserted) == [0, 0, 0, 20]
        assert rows_in(lake, RAW_ORDERS).height == 20

    def test_present_rows_are_counted_by_partition_and_identity(self, lake: Lake) -> None:
        lake.insert_new(RAW_ORDERS, rows(RAW_ORDERS, {}, {"order_id": "o2"}), IDENTITY)
        asked = rows(
            RAW_ORDERS,
            {"status": "shipped"},
            {"order_id": "o2", "captured_on": DAYS[5]},
            {"order_id": "o3"},
            {"updated_at": at("2020-03-02 12:01")},
        )
        assert lake.present(RAW_ORDERS, asked, IDENTITY).height == 1
        assert lake.present(RAW_ORDERS, asked.clear(), IDENTITY).is_empty()


class TestAppending:
    def test_many_small_files_become_one(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writer, "_SMALL_FILES", 3)
        keys = [f"o{number}" for number in range(10)]
        for key in keys:
            before = lake.find(KEY_DATES) if key != keys[0] else None
            lake.append(KEY_DATES, rows(KEY_DATES, {"key": key}))
            assert len(lake.find(KEY_DATES).file_uris()) <= 3
            if before is not None:
                assert object_store.scan(before).collect().height == keys.index(key)
        assert sorted(rows_in(lake, KEY_DATES)["key"]) == keys

    def test_concurrent_appends_survive_compaction(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writer, "_SMALL_FILES", 2)
        start = threading.Barrier(4)

        def append(writer: int) -> None:
            start.wait()
            for number in range(5):
                lake.append(KEY_DATES, rows(KEY_DATES, {"key": f"{writer}/{number}"}))

        threads = [threading.Thread(target=append, args=[writer]) for writer in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expected = sorted(f"{writer}/{number}" for writer in range(4) for number in range(5))
        assert sorted(rows_in(lake, KEY_DATES)["key"]) == expected


class TestCapturing:
    calendar = Calendar(on("2020-01-01"), "UTC")

    def test_every_version_is_captured_once_and_found_again(self, lake: Lake) -> None:
        frame = rows(RAW_ORDERS, {}, {"order_id": "o2"})
        done = [capture(lake, RAW_ORDERS, frame, self.calendar) for _ in range(2)]
        assert [(one.new, one.present["rows"].sum()) for one in done] == [(2, 2), (0, 2)]
        assert rows_in(lake, KEY_DATES).select("key", "captured_on", "order_date").rows() == [
            ("o1", on("2020-03-02"), on("2020-03-02")),
            ("o2", on("2020-03-02"), on("2020-03-02")),
        ]

    def test_fast_clock_is_captured_once_however_often_it_is_read(self, lake: Lake) -> None:
        for day in DAYS[2:6]:
            captured_at = at(f"{day} 13:00")
            ahead = {"updated_at": at("2099-01-01 00:00"), "captured_on": day, "captured_at": captured_at}
            done = capture(lake, RAW_ORDERS, rows(RAW_ORDERS, ahead), self.calendar)
            assert len(done.present) == 1
        assert rows_in(lake, RAW_ORDERS)["captured_on"].to_list() == [DAYS[2]]

    @pytest.mark.parametrize("table", RAW, ids=lambda table: table.name)
    def test_row_without_a_key_is_captured_once_and_found_again(self, lake: Lake, table: Table) -> None:
        keyless = rows(table, {table.key[0]: None})
        done = [capture(lake, table, keyless, self.calendar) for _ in range(2)]
        assert [(one.new, one.present["rows"].sum()) for one in done] == [(1, 1), (0, 1)]
