"""The writer of the lake on real Delta tables: alone, late, and in company."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.raw import BEFORE
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import MONEY_SUM, QUANTITY_SUM
from orders_lakehouse.curated.customer_profile import CUSTOMER_PROFILE
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.dates import days
from orders_lakehouse.delta import commits, compaction, object_store, writer
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import extent, parts_of_run
from orders_lakehouse.delta.object_store import LakeError, StorageUnavailableError
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.table_properties import TableProperties
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.pipeline.capture import capture
from orders_lakehouse.tables import KEY_DATES, QUARANTINE_OF, RAW, TABLES
from tests.support.rows import VALID, at, on, rows

FIRST = on("2020-03-01")
DAYS = [FIRST + timedelta(days=more) for more in range(12)]
IDENTITY = ("order_id", "updated_at")


@pytest.fixture(params=["disk", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake") if request.param == "disk" else request.getfixturevalue("bucket"), "UTC")


def _lazy(frame: pl.DataFrame) -> nw.LazyFrame[Any]:
    return nw.from_native(frame.lazy())


def _sales(*days: date, orders: int = 1, currency: str = "EUR") -> pl.DataFrame:
    return rows(DAILY_SALES, *({"order_date": day, "orders": orders, "currency": currency} for day in days))


def _stored(lake: Lake, table: Table) -> pl.DataFrame:
    frame: pl.DataFrame = lake.scan(table).to_native().collect()
    return frame.sort(*table.key)


def _orders_by_date(lake: Lake) -> dict[date, int]:
    return dict(_stored(lake, DAILY_SALES).select("order_date", "orders").iter_rows())


def _replace(lake: Lake, first: date, last: date, frame: pl.DataFrame) -> None:
    lake.replace_dates([DAILY_SALES], first, last, lambda _: [_lazy(frame)])


class TestReplacingDates:
    @pytest.mark.parametrize(
        ("first", "last", "written"),
        [
            (DAYS[2], DAYS[2], [DAYS[2]]),
            (DAYS[1], DAYS[3], [DAYS[1], DAYS[2], DAYS[3]]),
            (DAYS[1], DAYS[3], [DAYS[2]]),
            (DAYS[1], DAYS[3], []),
            (DAYS[2], DAYS[2], []),
            (DAYS[0], DAYS[4], [DAYS[4]]),
            (DAYS[5], DAYS[9], [DAYS[7]]),
        ],
    )
    def test_written_range_is_replaced_and_neighbours_stay(
        self, lake: Lake, first: date, last: date, written: list[date]
    ) -> None:
        before = DAYS[:5]
        _replace(lake, before[0], before[-1], _sales(*before))
        _replace(lake, first, last, _sales(*written, orders=7))
        kept = {day: 1 for day in before if not first <= day <= last}
        assert _orders_by_date(lake) == kept | dict.fromkeys(written, 7)

    def test_written_rows_are_returned(self, lake: Lake) -> None:
        (done,) = lake.replace_dates([DAILY_SALES], FIRST, FIRST, lambda _: [_lazy(_sales(FIRST))])
        assert done.sample.equals(_stored(lake, DAILY_SALES))
        assert done.by_date.rows() == [(FIRST, 1)]

    def test_writing_the_same_again_changes_nothing(self, lake: Lake) -> None:
        frame = _sales(*DAYS)
        for _ in range(3):
            _replace(lake, DAYS[0], DAYS[-1], frame)
        assert _stored(lake, DAILY_SALES).equals(frame)

    def test_only_changed_dates_are_written(self, lake: Lake) -> None:
        _replace(lake, DAYS[0], DAYS[4], _sales(*DAYS[:5]))
        before = files_of(lake.open(DAILY_SALES), DAILY_SALES)
        new = pl.concat([_sales(*DAYS[:2], DAYS[3]), _sales(DAYS[2], orders=2), _sales(DAYS[5])])
        (done,) = lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[5], lambda _: [_lazy(new)])
        assert done.changed.to_list() == [DAYS[2], DAYS[4], DAYS[5]]
        assert _stored(lake, DAILY_SALES).equals(new.sort("order_date"))
        after = files_of(lake.open(DAILY_SALES), DAILY_SALES)
        rewritten = before.join(after, on="path", how="anti")["date"]
        assert sorted(rewritten) == [DAYS[2], DAYS[4]]
        (again,) = lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[5], lambda _: [_lazy(new)])
        assert again.changed.is_empty()
        assert files_of(lake.open(DAILY_SALES), DAILY_SALES).equals(after)

    def test_column_that_was_added_later_does_not_make_rows_differ(self, lake: Lake) -> None:
        frame = _sales(*DAYS[:2])
        location = lake.location(DAILY_SALES)
        # It stands at the end of the table, wherever the contract has it.
        write_deltalake(
            location,
            frame.select(DAILY_SALES.columns[::-1]),
            partition_by=["order_date"],
            description=str(TableProperties.expected(DAILY_SALES, "UTC", None)),
            storage_options=object_store.options(location),
        )
        assert lake.open(DAILY_SALES).schema().fields[0].name == DAILY_SALES.columns[-1]
        (done,) = lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[1], lambda _: [_lazy(frame)])
        assert done.changed.is_empty()

    def test_commit_names_the_run_and_the_versions_read(self, lake: Lake) -> None:
        started = datetime.now(UTC)
        lake.insert_new(RAW_ORDERS, _order(), IDENTITY)
        for run_id in ("one", "other"):
            lake.replace_dates(
                [DAILY_SALES],
                DAYS[0],
                DAYS[5],
                lambda source: [_one_row_for_each_order(source, DAYS[2])],
                run_id,
            )
        lake.insert_new(RAW_ORDERS, _order(order_id="later"), IDENTITY)
        one, other, nobody = (
            lake_of
            for run_id in ("one", "other", "nobody")
            for lake_of, _ in parts_of_run(lake, [DAILY_SALES], run_id, started, (DAYS[0], DAYS[5]))
        )
        assert one.versions == {DAILY_SALES.path: 1, RAW_ORDERS.path: 1}
        assert one.scan(RAW_ORDERS).to_native().collect().height == 1
        assert other.versions == {DAILY_SALES.path: 2, RAW_ORDERS.path: 1}
        assert nobody.scan(RAW_ORDERS).to_native().collect().height == 2

    def test_frozen_lake_is_read_as_opened(self, lake: Lake) -> None:
        source = lake.snapshot()
        with pytest.raises(TableNotFoundError):
            source.find(RAW_ORDERS)
        lake.insert_new(RAW_ORDERS, _order(), IDENTITY)
        assert source.find(RAW_ORDERS).version() == 1
        lake.insert_new(RAW_ORDERS, _order(order_id="later"), IDENTITY)
        assert (source.find(RAW_ORDERS).version(), source.open(RAW_ORDERS).version()) == (1, 1)
        assert source.find(RAW_ORDERS, 2).version() == 2
        assert lake.snapshot({RAW_ORDERS.path: 1}).find(RAW_ORDERS).version() == 1

    def test_two_targets_are_replaced_each_by_its_own_column(self, lake: Lake) -> None:
        quarantine = QUARANTINE_OF["orders"]
        bad = pl.DataFrame(
            [{**VALID["raw/orders"], "captured_on": DAYS[9], "order_date": DAYS[1], "versions": 1}],
            schema=quarantine.schema,
        )
        good = rows(ORDERS, {"order_date": DAYS[1]}, {"order_id": "o2", "order_date": DAYS[2]})
        lake.replace_dates([quarantine, ORDERS], DAYS[1], DAYS[2], lambda _: [_lazy(bad), _lazy(good)])
        lake.replace_dates([quarantine, ORDERS], DAYS[2], DAYS[2], lambda _: [_lazy(bad.clear()), _lazy(good.clear())])
        assert _stored(lake, quarantine)["order_date"].to_list() == [DAYS[1]]
        assert _stored(lake, ORDERS)["order_date"].to_list() == [DAYS[1]]

    @pytest.mark.parametrize("stray", [DAYS[0], DAYS[3], DAYS[3] + timedelta(days=4000)])
    def test_rows_outside_the_range_are_refused_without_change(self, lake: Lake, stray: date) -> None:
        _replace(lake, DAYS[0], DAYS[4], _sales(*DAYS[:5]))
        with pytest.raises(DeltaError, match="1 rows failed validation"):
            _replace(lake, DAYS[1], DAYS[2], _sales(DAYS[1], stray, orders=7))
        assert _orders_by_date(lake) == dict.fromkeys(DAYS[:5], 1)

    @pytest.mark.parametrize(
        ("column", "dtype"), [("orders", pl.Int32), ("gross", pl.Decimal(18, 4)), ("currency", pl.Categorical)]
    )
    def test_rows_of_another_type_are_refused_without_change(self, lake: Lake, column: str, dtype: pl.DataType) -> None:
        _replace(lake, FIRST, FIRST, _sales(FIRST))
        with pytest.raises(LakeError) as raised:
            _replace(lake, FIRST, FIRST, _sales(FIRST, orders=7).with_columns(pl.col(column).cast(dtype)))
        assert "curated/daily_sales" in str(raised.value)
        assert f"{column}: expected {DAILY_SALES.schema[column]}, found {dtype}" in str(raised.value)
        assert _orders_by_date(lake) == {FIRST: 1}

    def test_missing_column_is_refused_and_nothing_changes(self, lake: Lake) -> None:
        _replace(lake, FIRST, FIRST, _sales(FIRST))
        with pytest.raises(pl.exceptions.ColumnNotFoundError, match="units"):
            _replace(lake, FIRST, FIRST, _sales(FIRST, orders=7).drop("units"))
        assert _orders_by_date(lake) == {FIRST: 1}

    def test_columns_fit_in_any_order_and_untyped_nulls_fit_any(self, lake: Lake) -> None:
        frame = _sales(FIRST).select(reversed(DAILY_SALES.columns)).with_columns(net=pl.lit(None))
        _replace(lake, FIRST, FIRST, frame)
        stored = _stored(lake, DAILY_SALES)
        assert stored.schema == DAILY_SALES.schema
        assert stored["net"].to_list() == [None]

    def test_failure_of_the_derivation_changes_nothing(self, lake: Lake) -> None:
        _replace(lake, FIRST, FIRST, _sales(FIRST))

        def fail(_: Lake) -> Sequence[nw.LazyFrame[Any]]:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            lake.replace_dates([DAILY_SALES], FIRST, FIRST, fail)
        assert _orders_by_date(lake) == {FIRST: 1}


def _interrupted(
    meanwhile: Callable[[], None], found: Callable[[], pl.DataFrame]
) -> tuple[Callable[[Lake], Sequence[nw.LazyFrame[Any]]], list[int]]:
    """A derivation that reads, and while whose first call something happens; and how often it was called."""
    calls = [0]

    def derive(_: Lake) -> Sequence[nw.LazyFrame[Any]]:
        calls[0] += 1
        frame = found()
        if calls[0] == 1:
            meanwhile()
        return [_lazy(frame)]

    return derive, calls


class TestLateWriter:
    """A writer that opened the table and read its sources before somebody else wrote the same date."""

    @pytest.mark.parametrize(
        ("before", "other"),
        [
            ([], [FIRST]),
            ([FIRST], [FIRST]),
            ([FIRST], []),
            ([], []),
        ],
        ids=["empty, filled", "full, replaced", "full, emptied", "empty, still empty"],
    )
    def test_writer_derives_again_from_the_current_version(
        self, lake: Lake, before: list[date], other: list[date]
    ) -> None:
        _replace(lake, FIRST, FIRST, _sales(*before))
        upstream = [_sales(FIRST, orders=2)]

        def meanwhile() -> None:
            upstream[0] = _sales(*other, orders=3)
            _replace(lake, FIRST, FIRST, upstream[0])

        derive, calls = _interrupted(meanwhile, lambda: upstream[0])
        lake.replace_dates([DAILY_SALES], FIRST, FIRST, derive)
        assert _orders_by_date(lake) == dict.fromkeys(other, 3)
        assert calls == [2]

    @pytest.mark.parametrize("every", [1, 2])
    def test_writer_of_many_dates_ignores_other_dates(self, lake: Lake, every: int) -> None:
        many = [FIRST + timedelta(days=number) for number in range(0, 60, every)]
        outside = FIRST + timedelta(days=90)
        _replace(lake, outside, outside, _sales(outside))
        derive, calls = _interrupted(
            lambda: _replace(lake, outside, outside, _sales(outside, orders=8)), lambda: _sales(*many)
        )
        lake.replace_dates([DAILY_SALES], many[0], many[-1], derive)
        assert calls == [1]
        assert _orders_by_date(lake) == {**dict.fromkeys(many, 1), outside: 8}

    def test_writer_without_rows_keeps_concurrent_rows(self, lake: Lake) -> None:
        lake.open(DAILY_SALES)
        upstream = [_sales()]

        def meanwhile() -> None:
            upstream[0] = _sales(FIRST, orders=3)
            _replace(lake, FIRST, FIRST, upstream[0])

        derive, _ = _interrupted(meanwhile, lambda: upstream[0])
        lake.replace_dates([DAILY_SALES], FIRST, FIRST, derive)
        assert _orders_by_date(lake) == {FIRST: 3}

    def test_writer_of_a_range_derives_again_after_write_to_one_date(self, lake: Lake) -> None:
        _replace(lake, DAYS[0], DAYS[4], _sales(*DAYS[:5]))
        orders = [2]

        def meanwhile() -> None:
            orders[0] = 3
            _replace(lake, DAYS[3], DAYS[3], _sales(DAYS[3], orders=3))

        derive, calls = _interrupted(meanwhile, lambda: _sales(*DAYS[1:4], orders=orders[0]))
        lake.replace_dates([DAILY_SALES], DAYS[1], DAYS[3], derive)
        assert calls == [2]
        assert _orders_by_date(lake) == {DAYS[0]: 1, DAYS[1]: 3, DAYS[2]: 3, DAYS[3]: 3, DAYS[4]: 1}

    def test_writer_of_another_date_derives_once_and_both_stand(self, lake: Lake) -> None:
        _replace(lake, DAYS[0], DAYS[1], _sales(*DAYS[:2]))
        derive, calls = _interrupted(
            lambda: _replace(lake, DAYS[1], DAYS[1], _sales(DAYS[1], orders=3)),
            lambda: _sales(DAYS[0], orders=2),
        )
        lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[0], derive)
        assert calls == [1]
        assert _orders_by_date(lake) == {DAYS[0]: 2, DAYS[1]: 3}

    @pytest.mark.parametrize("touched", [0, 1], ids=["the first target", "the second target"])
    def test_writer_of_two_targets_derives_both_again(self, lake: Lake, touched: int) -> None:
        targets = [DAILY_SALES, ORDERS]
        versions = [1]

        def frames() -> list[pl.DataFrame]:
            return [_sales(FIRST, orders=versions[0]), rows(ORDERS, {"order_date": FIRST, "versions": versions[0]})]

        def write(which: Sequence[int]) -> None:
            made = frames()
            lake.replace_dates([targets[n] for n in which], FIRST, FIRST, lambda _: [_lazy(made[n]) for n in which])

        write([0, 1])
        calls = [0]

        def derive(_: Lake) -> Sequence[nw.LazyFrame[Any]]:
            calls[0] += 1
            stale = frames()
            if calls[0] == 1:
                versions[0] = 2
                write([touched])
            return [_lazy(frame) for frame in stale]

        lake.replace_dates(targets, FIRST, FIRST, derive)
        assert calls == [2]
        assert _stored(lake, DAILY_SALES)["orders"].to_list() == [2]
        assert _stored(lake, ORDERS)["versions"].to_list() == [2]

    def test_writer_of_a_whole_table_derives_again(self, lake: Lake) -> None:
        units = [1]
        calls = [0]

        def profile(_: Lake) -> nw.LazyFrame[Any]:
            return _lazy(rows(CUSTOMER_PROFILE, {"units": units[0]}))

        lake.replace_all(CUSTOMER_PROFILE, profile)

        def derive(source: Lake) -> nw.LazyFrame[Any]:
            calls[0] += 1
            stale = profile(source)
            if calls[0] == 1:
                units[0] = 2
                lake.replace_all(CUSTOMER_PROFILE, profile)
            return stale

        lake.replace_all(CUSTOMER_PROFILE, derive)
        assert calls == [2]
        assert _stored(lake, CUSTOMER_PROFILE)["units"].to_list() == [2]

    def test_writer_that_always_loses_gives_up_with_an_error(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(commits, "_ATTEMPTS", 3)
        monkeypatch.setattr(commits.time, "sleep", lambda _: None)
        _replace(lake, FIRST, FIRST, _sales(FIRST))
        calls = [0]

        def derive(_: Lake) -> Sequence[nw.LazyFrame[Any]]:
            calls[0] += 1
            _replace(lake, FIRST, FIRST, _sales(FIRST, orders=7))
            return [_lazy(_sales(FIRST, orders=2))]

        with pytest.raises(StorageUnavailableError, match="3 times in a row"):
            lake.replace_dates([DAILY_SALES], FIRST, FIRST, derive)
        assert calls == [3]
        assert _orders_by_date(lake) == {FIRST: 7}


def test_whole_table_is_replaced_and_can_be_emptied(lake: Lake) -> None:
    lake.replace_all(CUSTOMER_PROFILE, lambda _: _lazy(rows(CUSTOMER_PROFILE, {}, {"customer_id": "c2"})))
    lake.replace_all(CUSTOMER_PROFILE, lambda _: _lazy(rows(CUSTOMER_PROFILE, {"customer_id": "c3"})))
    assert _stored(lake, CUSTOMER_PROFILE)["customer_id"].to_list() == ["c3"]
    lake.replace_all(CUSTOMER_PROFILE, lambda _: _lazy(rows(CUSTOMER_PROFILE)))
    assert _stored(lake, CUSTOMER_PROFILE).is_empty()


def test_dates_are_read_from_their_own_files(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "UTC")
    _replace(lake, FIRST, FIRST + timedelta(days=1), _sales(FIRST, FIRST + timedelta(days=1)))
    shutil.rmtree(tmp_path / DAILY_SALES.path / f"order_date={FIRST + timedelta(days=1)}")
    one = lake.scan(DAILY_SALES, between=(FIRST, FIRST)), lake.scan(DAILY_SALES, dates=[FIRST])
    assert [rows_of(frame)["order_date"].to_list() for frame in one] == [[FIRST], [FIRST]]
    nothing = rows_of(lake.scan(DAILY_SALES, dates=[]))
    assert (nothing.height, nothing.schema) == (0, DAILY_SALES.schema)
    with pytest.raises(LakeError):
        rows_of(lake.scan(DAILY_SALES))


def test_log_has_range_of_keys_and_instants_of_each_file(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "UTC")
    lake.replace_dates([ORDERS], FIRST, FIRST, lambda _: [_lazy(rows(ORDERS, {"order_date": FIRST}))])
    known = pl.DataFrame(lake.open(ORDERS).get_add_actions(flatten=True))
    instants = {"ordered_at", "shipped_at", "delivered_at", "updated_at", "captured_at"}
    assert {name.removeprefix("min.") for name in known.columns if name.startswith("min.")} == {"order_id", *instants}
    assert known["num_records"].to_list() == [1]


def test_keys_of_few_dates_are_read_from_groups_of_the_index(tmp_path: Path) -> None:
    lake, size = Lake(str(tmp_path), "UTC"), compaction.GROUP_ROWS
    keys = pl.Series("key", range(10**6, 10**6 + 3 * size)).cast(pl.String)
    index = pl.DataFrame({"key": keys, "order_id": keys}).with_columns(table_name=pl.lit("orders"))
    index = index.with_columns(captured_on=pl.lit(on("2020-03-01")), order_date=pl.lit(on("2020-03-01")))
    for part in (index[:size], index[size:]):
        lake.append(KEY_DATES, part)
    assert compaction.compact(lake.open(KEY_DATES), KEY_DATES)

    (path,) = lake.open(KEY_DATES).file_uris()
    groups = [pq.read_metadata(path).row_group(at).column(1) for at in range(3)]
    assert {group.num_values for group in groups} == {size}
    assert {group.compression for group in groups} == {"SNAPPY"}
    spans = sorted((group.statistics.min, group.statistics.max) for group in groups)
    assert all(before[1] < after[0] for before, after in pairwise(spans))
    assert rows_of(lake.scan(KEY_DATES))["key"].sort().equals(keys)


@pytest.mark.parametrize(("dates", "version"), [(201, 1), (200, None)])
def test_commit_of_many_dates_is_opened_from_a_checkpoint(tmp_path: Path, dates: int, version: int | None) -> None:
    lake, last = Lake(str(tmp_path), "UTC"), FIRST + timedelta(days=dates - 1)
    _replace(lake, FIRST, last, _sales(*days(FIRST, last)))
    found = tmp_path / DAILY_SALES.path / "_delta_log" / "_last_checkpoint"
    assert (json.loads(found.read_text())["version"] if found.exists() else None) == version
    _replace(lake, FIRST, FIRST, _sales(FIRST, orders=7))
    assert _orders_by_date(Lake(str(tmp_path), "UTC")) == {**dict.fromkeys(days(FIRST, last), 1), FIRST: 7}


@pytest.mark.parametrize("vectors", ["true", "false"])
def test_deletion_vectors_are_left_to_the_delta_reader(tmp_path: Path, vectors: str) -> None:
    rows = pl.DataFrame({"day": [FIRST], "number": [1]})
    configuration = {"delta.enableDeletionVectors": vectors}
    write_deltalake(str(tmp_path), rows, partition_by=["day"], configuration=configuration)
    found = object_store.scan(DeltaTable(str(tmp_path)), f"day = '{FIRST}'")
    assert found.collect().equals(rows)
    assert ("Parquet SCAN" in found.explain(optimized=False)) == (vectors == "false")


def _order(**change: Any) -> pl.DataFrame:
    return rows(RAW_ORDERS, change)


class TestInsertingWhatIsNew:
    def test_inserting_twice_leaves_one(self, lake: Lake) -> None:
        frame = rows(RAW_ORDERS, {}, {"order_id": "o2"})
        assert [lake.insert_new(RAW_ORDERS, frame, IDENTITY) for _ in range(3)] == [2, 0, 0]
        assert _stored(lake, RAW_ORDERS).equals(frame)

    def test_existing_rows_keep_their_first_capture(self, lake: Lake) -> None:
        lake.insert_new(RAW_ORDERS, _order(), IDENTITY)
        again = _order(captured_at=at("2020-03-09 00:00"), run_id="another", source="elsewhere")
        assert lake.insert_new(RAW_ORDERS, again, IDENTITY) == 0
        assert _stored(lake, RAW_ORDERS).equals(_order())

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
        lake.insert_new(RAW_ORDERS, _order(), IDENTITY)
        assert lake.insert_new(RAW_ORDERS, _order(**change), IDENTITY) == 1
        assert _stored(lake, RAW_ORDERS).height == 2
        assert lake.insert_new(RAW_ORDERS, _order(**change), IDENTITY) == 0

    def test_row_that_reverts_is_new(self, lake: Lake) -> None:
        seen = [("paid", 1, 1), ("shipped", 2, 1), ("paid", 3, 1), ("paid", 4, 0)]
        for status, hour, inserted in seen:
            version = _order(status=status, captured_at=at(f"2020-03-09 0{hour}:00"))
            assert lake.insert_new(RAW_ORDERS, version, IDENTITY) == inserted
        # A capture that began before the last one, and commits after it.
        late = _order(status="shipped", captured_at=at("2020-03-09 02:30"))
        assert lake.insert_new(RAW_ORDERS, late, IDENTITY) == 0
        assert _stored(lake, RAW_ORDERS).sort("captured_at")["status"].to_list() == ["paid", "shipped", "paid"]

    def test_null_content_is_equal_to_null_content(self, lake: Lake) -> None:
        identity = {"order_id", "updated_at", "captured_on", "captured_at", "run_id", "source"}
        bare = _order(**{name: None for name in RAW_ORDERS.columns if name not in identity})
        assert [lake.insert_new(RAW_ORDERS, bare, IDENTITY) for _ in range(2)] == [1, 0]
        assert lake.insert_new(RAW_ORDERS, bare.with_columns(status=pl.lit("paid")), IDENTITY) == 1

    def test_rows_of_several_partitions_are_inserted_at_once(self, lake: Lake) -> None:
        frame = rows(RAW_ORDERS, *({"captured_on": day} for day in DAYS))
        assert lake.insert_new(RAW_ORDERS, frame[:5], IDENTITY) == 5
        assert lake.insert_new(RAW_ORDERS, frame, IDENTITY) == 7
        assert _stored(lake, RAW_ORDERS).sort("captured_on").equals(frame)

    def test_nothing_new_is_no_commit(self, lake: Lake) -> None:
        assert lake.insert_new(RAW_ORDERS, rows(RAW_ORDERS), IDENTITY) == 0
        assert lake.open(RAW_ORDERS).version() == 0
        assert [lake.insert_new(RAW_ORDERS, _order(), IDENTITY) for _ in range(2)] == [1, 0]
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
        assert _stored(lake, RAW_ORDERS).height == 20

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
        assert sorted(_stored(lake, KEY_DATES)["key"]) == keys

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
        assert sorted(_stored(lake, KEY_DATES)["key"]) == expected


class TestCapturing:
    calendar = Calendar(on("2020-01-01"), "UTC")

    def test_every_version_is_captured_once_and_found_again(self, lake: Lake) -> None:
        frame = rows(RAW_ORDERS, {}, {"order_id": "o2"})
        done = [capture(lake, RAW_ORDERS, frame, self.calendar) for _ in range(2)]
        assert [(one.new, one.present["rows"].sum()) for one in done] == [(2, 2), (0, 2)]
        assert _stored(lake, KEY_DATES).select("key", "captured_on", "order_date").rows() == [
            ("o1", on("2020-03-02"), on("2020-03-02")),
            ("o2", on("2020-03-02"), on("2020-03-02")),
        ]

    def test_fast_clock_is_captured_once_however_often_it_is_read(self, lake: Lake) -> None:
        for day in DAYS[2:6]:
            captured_at = at(f"{day} 13:00")
            ahead = {"updated_at": at("2099-01-01 00:00"), "captured_on": day, "captured_at": captured_at}
            done = capture(lake, RAW_ORDERS, rows(RAW_ORDERS, ahead), self.calendar)
            assert len(done.present) == 1
        assert _stored(lake, RAW_ORDERS)["captured_on"].to_list() == [DAYS[2]]

    @pytest.mark.parametrize("table", RAW, ids=lambda table: table.name)
    def test_row_without_a_key_is_captured_once_and_found_again(self, lake: Lake, table: Table) -> None:
        keyless = rows(table, {table.key[0]: None})
        done = [capture(lake, table, keyless, self.calendar) for _ in range(2)]
        assert [(one.new, one.present["rows"].sum()) for one in done] == [(1, 1), (0, 1)]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.path)
def test_every_table_gives_back_what_was_written(lake: Lake, table: Table) -> None:
    nothing = pl.DataFrame([dict.fromkeys(table.columns)], schema=table.schema)
    something = pl.DataFrame(
        [{name: _value(dtype) for name, dtype in table.schema.items()}], schema=table.schema, orient="row"
    )
    if table.partitioned_by:
        nothing = nothing.with_columns(pl.lit(FIRST).alias(table.partitioned_by))
    frame = pl.concat([nothing, something])
    lake.append(table, frame)
    stored = lake.scan(table).to_native().collect()
    assert stored.schema == table.schema
    # What raw has had since its second version reads as its rows of before.
    known = {name: pl.col(name).fill_null(value) for name, value in BEFORE.items() if name in table.columns}
    assert stored.sort(table.columns).equals(frame.with_columns(**known).sort(table.columns))


def _value(dtype: pl.DataType) -> Any:
    values: Mapping[Any, Any] = {
        pl.String: 'it\'s "ü" \u2028\n',
        pl.Int32: -(2**31),
        pl.Int64: 2**63 - 1,
        pl.Boolean: True,
        pl.Date: FIRST,
        pl.Datetime: at("9999-12-31 00:00"),
        pl.Decimal: Decimal("-9999999999.99"),
    }
    return values[dtype.base_type()]


class TestTables:
    def test_table_is_made_when_it_is_first_asked_for(self, lake: Lake) -> None:
        with pytest.raises(TableNotFoundError):
            lake.find(DAILY_SALES)
        handle = lake.open(DAILY_SALES)
        assert lake.find(DAILY_SALES).table_uri.rstrip("/").endswith("curated/daily_sales")
        assert handle.metadata().partition_columns == ["order_date"]
        assert lake.scan(DAILY_SALES).to_native().collect().schema == DAILY_SALES.schema
        assert lake.open(DAILY_SALES).metadata().id == handle.metadata().id

    def test_another_time_zone_is_refused_with_next_step(self, lake: Lake) -> None:
        _replace(lake, FIRST, FIRST, _sales(FIRST))
        elsewhere = Lake(lake.url, "Europe/Berlin")
        for use in (
            lambda: elsewhere.scan(DAILY_SALES),
            lambda: elsewhere.latest_date(DAILY_SALES),
            lambda: elsewhere.append(DAILY_SALES, _sales(FIRST)),
            lambda: _replace(elsewhere, FIRST, FIRST, _sales(FIRST)),
        ):
            with pytest.raises(LakeError) as raised:
                use()
            message = str(raised.value)
            assert "curated/daily_sales" in message
            assert "timezone=UTC" in message
            assert "timezone=Europe/Berlin" in message
            assert "set LAKEHOUSE_TIMEZONE back" in message
        assert _orders_by_date(lake) == {FIRST: 1}

    def test_unreadable_table_is_an_error_and_not_recreated(self, tmp_path: Path) -> None:
        lake = Lake(str(tmp_path), "UTC")
        _replace(lake, FIRST, FIRST, _sales(FIRST))
        log = Path(lake.url, "curated", "daily_sales", "_delta_log")
        before = {path.name: path.read_bytes() for path in log.iterdir() if path.is_file()}
        (log / f"{1:020}.json").write_text("not json")
        with pytest.raises(LakeError, match=r"curated/daily_sales is damaged: .*1.json of its log cannot be read"):
            _orders_by_date(lake)
        assert (log / f"{0:020}.json").read_bytes() == before[f"{0:020}.json"]

    def test_latest_date_is_the_last_that_has_rows(self, lake: Lake) -> None:
        _replace(lake, DAYS[0], DAYS[3], _sales(*DAYS[:4]))
        assert lake.latest_date(DAILY_SALES) == DAYS[3]
        _replace(lake, DAYS[2], DAYS[3], _sales())
        assert lake.latest_date(DAILY_SALES) == DAYS[1]
        assert lake.latest_date(DAILY_SALES, default=DAYS[9]) == DAYS[1]

    def test_empty_table_has_no_latest_date_but_a_default(self, lake: Lake) -> None:
        with pytest.raises(LakeError, match="curated/daily_sales is empty; materialize it"):
            lake.latest_date(DAILY_SALES)
        assert lake.latest_date(DAILY_SALES, default=FIRST) == FIRST

    def test_dates_that_have_rows_are_counted(self, lake: Lake) -> None:
        assert extent(lake.open(DAILY_SALES), DAILY_SALES).dates == 0
        _replace(lake, DAYS[0], DAYS[3], _sales(*DAYS[:4]))
        _replace(lake, DAYS[1], DAYS[1], _sales())
        lake.append(DAILY_SALES, _sales(DAYS[0], currency="USD"))
        assert extent(lake.open(DAILY_SALES), DAILY_SALES).dates == 3

    def test_log_tells_the_rows_of_each_date(self, lake: Lake) -> None:
        assert files_of(lake.open(DAILY_SALES), DAILY_SALES).is_empty()
        _replace(lake, DAYS[0], DAYS[1], pl.concat([_sales(*DAYS[:2]), _sales(DAYS[0], currency="USD")]))
        lake.append(DAILY_SALES, _sales(DAYS[1], currency="GBP"))
        found = files_of(lake.open(DAILY_SALES), DAILY_SALES)
        assert found["path"].n_unique() == found.height == 3
        assert sorted(found.group_by("date").agg(pl.col("rows").sum()).rows()) == [(DAYS[0], 2), (DAYS[1], 2)]

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ({"between": (DAYS[1], DAYS[2])}, DAYS[1:3]),
            ({"between": (DAYS[3], DAYS[9])}, [DAYS[3]]),
            ({"between": (DAYS[5], DAYS[9])}, []),
            ({"dates": [DAYS[0], DAYS[2]]}, [DAYS[0], DAYS[2]]),
            ({"dates": []}, []),
            ({}, DAYS[:4]),
        ],
    )
    def test_only_requested_dates_are_read(self, lake: Lake, asked: dict[str, Any], expected: list[date]) -> None:
        _replace(lake, DAYS[0], DAYS[3], _sales(*DAYS[:4]))
        found = lake.scan(DAILY_SALES, **asked).to_native().collect()
        assert sorted(found["order_date"]) == expected
        assert found.schema == DAILY_SALES.schema

    def test_open_handle_is_read_as_it_was(self, lake: Lake) -> None:
        _replace(lake, FIRST, FIRST, _sales(FIRST))
        handle = lake.open(DAILY_SALES)
        _replace(lake, FIRST, FIRST, _sales(FIRST, orders=2))
        found = lake.scan_at(handle, DAILY_SALES, [FIRST]).to_native().collect()
        assert found["orders"].to_list() == [1]


# What follows runs in other processes, which find it by its name in this module.

_PROCESSES = 12
_barriers: dict[int, Barrier] = {}


def _join_in(barriers: dict[int, Barrier]) -> None:
    _barriers.update(barriers)


def _aws() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


def _append_upstream_and_derive(url: str, aws: dict[str, str], number: int, day: date, parties: int) -> None:
    """Learn of an order, then derive the date from all orders that are known of."""
    os.environ.update(aws)
    lake = Lake(url, "UTC")
    _barriers[parties].wait(timeout=60)
    learnt = rows(RAW_ORDERS, {"order_id": f"o{number}", "captured_on": day})
    lake.insert_new(RAW_ORDERS, learnt, IDENTITY)
    lake.replace_dates([DAILY_SALES], day, day, lambda source: [_one_row_for_each_order(source, day)])


def _one_row_for_each_order(lake: Lake, day: date) -> nw.LazyFrame[Any]:
    one, nothing = nw.lit(1).cast(nw.Int64), nw.lit(0).cast(nw.Decimal(*MONEY_SUM))
    return lake.scan(RAW_ORDERS, dates=[day]).select(
        nw.col("captured_on").alias("order_date"),
        nw.col("order_id").alias("currency"),
        orders=one,
        lines=one,
        units=one.cast(nw.Decimal(*QUANTITY_SUM)),
        gross=nothing,
        net=nothing,
    )


def _make(url: str, aws: dict[str, str], parties: int) -> None:
    """Make the same tables as others do at the same time, one after the other."""
    os.environ.update(aws)
    lake = Lake(url, "UTC")
    for table in TABLES:
        _barriers[parties].wait(timeout=60)
        lake.open(table)


def _pool(*sizes: int) -> ProcessPoolExecutor:
    """As many processes as the last size says, which can wait for one another in groups of each size."""
    context = get_context("spawn")
    barriers = {parties: context.Barrier(parties) for parties in sizes}
    return ProcessPoolExecutor(sizes[-1], context, _join_in, (barriers,))


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with _pool(4, 8, _PROCESSES) as pool:
        yield pool


@pytest.mark.slow
@pytest.mark.xdist_group("lake_processes")
class TestManyProcesses:
    def test_eight_writers_of_one_date_keep_what_all_knew(self, lake: Lake, processes: ProcessPoolExecutor) -> None:
        _replace(lake, DAYS[0], DAYS[2], _sales(*DAYS[:3]))
        work = [
            processes.submit(_append_upstream_and_derive, lake.url, _aws(), number, DAYS[1], 8) for number in range(8)
        ]
        for done in work:
            done.result(timeout=100)
        stored = _stored(lake, DAILY_SALES)
        of_date = stored.filter(pl.col("order_date") == DAYS[1])["currency"]
        assert sorted(of_date) == [f"o{number}" for number in range(8)]
        assert stored.filter(pl.col("order_date") != DAYS[1]).equals(_sales(DAYS[0], DAYS[2]))

    def test_twelve_writers_of_different_dates_do_not_conflict(
        self, lake: Lake, processes: ProcessPoolExecutor
    ) -> None:
        _replace(lake, DAYS[0], DAYS[-1] + timedelta(days=1), _sales(*DAYS, DAYS[-1] + timedelta(days=1)))
        work = [
            processes.submit(_append_upstream_and_derive, lake.url, _aws(), number, day, _PROCESSES)
            for number, day in enumerate(DAYS)
        ]
        for done in work:
            done.result(timeout=100)
        found = _stored(lake, DAILY_SALES).select("order_date", "currency").rows()
        expected = [(day, f"o{number}") for number, day in enumerate(DAYS)]
        assert sorted(found) == [*expected, (DAYS[-1] + timedelta(days=1), "EUR")]

    def test_four_creators_of_the_same_tables_can_all_use_them(
        self, lake: Lake, processes: ProcessPoolExecutor
    ) -> None:
        for done in [processes.submit(_make, lake.url, _aws(), 4) for _ in range(4)]:
            done.result(timeout=100)
        for table in TABLES:
            assert lake.scan(table).to_native().collect().schema == table.schema

    def test_four_creators_of_the_same_tables_create_each_once(
        self, lake: Lake, processes: ProcessPoolExecutor
    ) -> None:
        for done in [processes.submit(_make, lake.url, _aws(), 4) for _ in range(4)]:
            done.result(timeout=100)
        assert {table.path: lake.find(table).version() for table in TABLES} == {table.path: 0 for table in TABLES}


@pytest.mark.slow
@pytest.mark.thorough
def test_twenty_eight_processes_deriving_dates_lose_nothing(lake: Lake) -> None:
    dates = [FIRST + timedelta(days=more) for more in range(28)]
    neighbour = dates[-1] + timedelta(days=1)
    _replace(lake, dates[0], neighbour, _sales(*dates, neighbour))
    with _pool(28) as pool:
        work = [
            pool.submit(_append_upstream_and_derive, lake.url, _aws(), number, day, 28)
            for number, day in enumerate(dates)
        ]
        for done in work:
            done.result(timeout=300)
    found = _stored(lake, DAILY_SALES).select("order_date", "currency").rows()
    assert sorted(found) == [*((day, f"o{number}") for number, day in enumerate(dates)), (neighbour, "EUR")]
    assert _stored(lake, RAW_ORDERS).height == 28
