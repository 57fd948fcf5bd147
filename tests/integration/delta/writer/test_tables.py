"""Tables as they are created, and rows as they are read."""

import json
import shutil
from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import TableNotFoundError

from orders_lakehouse.contracts.raw import BEFORE
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.dates import days
from orders_lakehouse.delta import compaction, object_store
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import extent
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import ORDERS
from orders_lakehouse.tables import KEY_DATES, TABLES
from tests.support.rows import at, on, rows
from tests.support.sales import DAYS, FIRST, lazy, orders_by_date, replace_sales, sales


def test_dates_are_read_from_their_own_files(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "UTC")
    replace_sales(lake, FIRST, FIRST + timedelta(days=1), sales(FIRST, FIRST + timedelta(days=1)))
    shutil.rmtree(tmp_path / DAILY_SALES.path / f"order_date={FIRST + timedelta(days=1)}")
    one = lake.scan(DAILY_SALES, between=(FIRST, FIRST)), lake.scan(DAILY_SALES, dates=[FIRST])
    assert [rows_of(frame)["order_date"].to_list() for frame in one] == [[FIRST], [FIRST]]
    nothing = rows_of(lake.scan(DAILY_SALES, dates=[]))
    assert (nothing.height, nothing.schema) == (0, DAILY_SALES.schema)
    with pytest.raises(LakeError):
        rows_of(lake.scan(DAILY_SALES))


def test_log_has_range_of_keys_and_instants_of_each_file(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path), "UTC")
    lake.replace_dates([ORDERS], FIRST, FIRST, lambda _: [lazy(rows(ORDERS, {"order_date": FIRST}))])
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
    replace_sales(lake, FIRST, last, sales(*days(FIRST, last)))
    found = tmp_path / DAILY_SALES.path / "_delta_log" / "_last_checkpoint"
    assert (json.loads(found.read_text())["version"] if found.exists() else None) == version
    replace_sales(lake, FIRST, FIRST, sales(FIRST, orders=7))
    assert orders_by_date(Lake(str(tmp_path), "UTC")) == {**dict.fromkeys(days(FIRST, last), 1), FIRST: 7}


@pytest.mark.parametrize("vectors", ["true", "false"])
def test_deletion_vectors_are_left_to_the_delta_reader(tmp_path: Path, vectors: str) -> None:
    rows = pl.DataFrame({"day": [FIRST], "number": [1]})
    configuration = {"delta.enableDeletionVectors": vectors}
    write_deltalake(str(tmp_path), rows, partition_by=["day"], configuration=configuration)
    found = object_store.scan(DeltaTable(str(tmp_path)), f"day = '{FIRST}'")
    assert found.collect().equals(rows)
    assert ("Parquet SCAN" in found.explain(optimized=False)) == (vectors == "false")


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
        replace_sales(lake, FIRST, FIRST, sales(FIRST))
        elsewhere = Lake(lake.url, "Europe/Berlin")
        for use in (
            lambda: elsewhere.scan(DAILY_SALES),
            lambda: elsewhere.latest_date(DAILY_SALES),
            lambda: elsewhere.append(DAILY_SALES, sales(FIRST)),
            lambda: replace_sales(elsewhere, FIRST, FIRST, sales(FIRST)),
        ):
            with pytest.raises(LakeError) as raised:
                use()
            message = str(raised.value)
            assert "curated/daily_sales" in message
            assert "timezone=UTC" in message
            assert "timezone=Europe/Berlin" in message
            assert "set LAKEHOUSE_TIMEZONE back" in message
        assert orders_by_date(lake) == {FIRST: 1}

    def test_unreadable_table_is_an_error_and_not_recreated(self, tmp_path: Path) -> None:
        lake = Lake(str(tmp_path), "UTC")
        replace_sales(lake, FIRST, FIRST, sales(FIRST))
        log = Path(lake.url, "curated", "daily_sales", "_delta_log")
        before = {path.name: path.read_bytes() for path in log.iterdir() if path.is_file()}
        (log / f"{1:020}.json").write_text("not json")
        with pytest.raises(LakeError, match=r"curated/daily_sales is damaged: .*1.json of its log cannot be read"):
            orders_by_date(lake)
        assert (log / f"{0:020}.json").read_bytes() == before[f"{0:020}.json"]

    def test_latest_date_is_the_last_that_has_rows(self, lake: Lake) -> None:
        replace_sales(lake, DAYS[0], DAYS[3], sales(*DAYS[:4]))
        assert lake.latest_date(DAILY_SALES) == DAYS[3]
        replace_sales(lake, DAYS[2], DAYS[3], sales())
        assert lake.latest_date(DAILY_SALES) == DAYS[1]
        assert lake.latest_date(DAILY_SALES, default=DAYS[9]) == DAYS[1]

    def test_empty_table_has_no_latest_date_but_a_default(self, lake: Lake) -> None:
        with pytest.raises(LakeError, match="curated/daily_sales is empty; first materialize it"):
            lake.latest_date(DAILY_SALES)
        assert lake.latest_date(DAILY_SALES, default=FIRST) == FIRST

    def test_dates_that_have_rows_are_counted(self, lake: Lake) -> None:
        assert extent(lake.open(DAILY_SALES), DAILY_SALES).dates == 0
        replace_sales(lake, DAYS[0], DAYS[3], sales(*DAYS[:4]))
        replace_sales(lake, DAYS[1], DAYS[1], sales())
        lake.append(DAILY_SALES, sales(DAYS[0], currency="USD"))
        assert extent(lake.open(DAILY_SALES), DAILY_SALES).dates == 3

    def test_log_tells_the_rows_of_each_date(self, lake: Lake) -> None:
        assert files_of(lake.open(DAILY_SALES), DAILY_SALES).is_empty()
        replace_sales(lake, DAYS[0], DAYS[1], pl.concat([sales(*DAYS[:2]), sales(DAYS[0], currency="USD")]))
        lake.append(DAILY_SALES, sales(DAYS[1], currency="GBP"))
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
        replace_sales(lake, DAYS[0], DAYS[3], sales(*DAYS[:4]))
        found = lake.scan(DAILY_SALES, **asked).to_native().collect()
        assert sorted(found["order_date"]) == expected
        assert found.schema == DAILY_SALES.schema

    def test_open_handle_is_read_as_it_was(self, lake: Lake) -> None:
        replace_sales(lake, FIRST, FIRST, sales(FIRST))
        handle = lake.open(DAILY_SALES)
        replace_sales(lake, FIRST, FIRST, sales(FIRST, orders=2))
        found = lake.scan_at(handle, DAILY_SALES, [FIRST]).to_native().collect()
        assert found["orders"].to_list() == [1]
