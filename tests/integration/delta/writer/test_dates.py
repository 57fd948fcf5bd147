"""Dates of a table, replaced as a whole."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from deltalake import write_deltalake
from deltalake.exceptions import DeltaError, TableNotFoundError

from orders_lakehouse.curated.customer_profile import CUSTOMER_PROFILE
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.log import parts_of_run
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.table_properties import TableProperties
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.tables import QUARANTINE_OF
from tests.support.rows import VALID, rows
from tests.support.sales import (
    DAYS,
    FIRST,
    IDENTITY,
    an_order,
    lazy,
    one_row_for_each_order,
    orders_by_date,
    replace_sales,
    rows_in,
    sales,
)


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
        replace_sales(lake, before[0], before[-1], sales(*before))
        replace_sales(lake, first, last, sales(*written, orders=7))
        kept = {day: 1 for day in before if not first <= day <= last}
        assert orders_by_date(lake) == kept | dict.fromkeys(written, 7)

    def test_written_rows_are_returned(self, lake: Lake) -> None:
        (done,) = lake.replace_dates([DAILY_SALES], FIRST, FIRST, lambda _: [lazy(sales(FIRST))])
        assert done.sample.equals(rows_in(lake, DAILY_SALES))
        assert done.by_date.rows() == [(FIRST, 1)]

    def test_writing_the_same_again_changes_nothing(self, lake: Lake) -> None:
        frame = sales(*DAYS)
        for _ in range(3):
            replace_sales(lake, DAYS[0], DAYS[-1], frame)
        assert rows_in(lake, DAILY_SALES).equals(frame)

    def test_only_changed_dates_are_written(self, lake: Lake) -> None:
        replace_sales(lake, DAYS[0], DAYS[4], sales(*DAYS[:5]))
        before = files_of(lake.open(DAILY_SALES), DAILY_SALES)
        new = pl.concat([sales(*DAYS[:2], DAYS[3]), sales(DAYS[2], orders=2), sales(DAYS[5])])
        (done,) = lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[5], lambda _: [lazy(new)])
        assert done.changed.to_list() == [DAYS[2], DAYS[4], DAYS[5]]
        assert rows_in(lake, DAILY_SALES).equals(new.sort("order_date"))
        after = files_of(lake.open(DAILY_SALES), DAILY_SALES)
        rewritten = before.join(after, on="path", how="anti")["date"]
        assert sorted(rewritten) == [DAYS[2], DAYS[4]]
        (again,) = lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[5], lambda _: [lazy(new)])
        assert again.changed.is_empty()
        assert files_of(lake.open(DAILY_SALES), DAILY_SALES).equals(after)

    def test_column_that_was_added_later_does_not_make_rows_differ(self, lake: Lake) -> None:
        frame = sales(*DAYS[:2])
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
        (done,) = lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[1], lambda _: [lazy(frame)])
        assert done.changed.is_empty()

    def test_commit_names_the_run_and_the_versions_read(self, lake: Lake) -> None:
        started = datetime.now(UTC)
        lake.insert_new(RAW_ORDERS, an_order(), IDENTITY)
        for run_id in ("one", "other"):
            lake.replace_dates(
                [DAILY_SALES],
                DAYS[0],
                DAYS[5],
                lambda source: [one_row_for_each_order(source, DAYS[2])],
                run_id,
            )
        lake.insert_new(RAW_ORDERS, an_order(order_id="later"), IDENTITY)
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
        lake.insert_new(RAW_ORDERS, an_order(), IDENTITY)
        assert source.find(RAW_ORDERS).version() == 1
        lake.insert_new(RAW_ORDERS, an_order(order_id="later"), IDENTITY)
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
        lake.replace_dates([quarantine, ORDERS], DAYS[1], DAYS[2], lambda _: [lazy(bad), lazy(good)])
        lake.replace_dates([quarantine, ORDERS], DAYS[2], DAYS[2], lambda _: [lazy(bad.clear()), lazy(good.clear())])
        assert rows_in(lake, quarantine)["order_date"].to_list() == [DAYS[1]]
        assert rows_in(lake, ORDERS)["order_date"].to_list() == [DAYS[1]]

    @pytest.mark.parametrize("stray", [DAYS[0], DAYS[3], DAYS[3] + timedelta(days=4000)])
    def test_rows_outside_the_range_are_refused_without_change(self, lake: Lake, stray: date) -> None:
        replace_sales(lake, DAYS[0], DAYS[4], sales(*DAYS[:5]))
        with pytest.raises(DeltaError, match="1 rows failed validation"):
            replace_sales(lake, DAYS[1], DAYS[2], sales(DAYS[1], stray, orders=7))
        assert orders_by_date(lake) == dict.fromkeys(DAYS[:5], 1)

    @pytest.mark.parametrize(
        ("column", "dtype"), [("orders", pl.Int32), ("gross", pl.Decimal(18, 4)), ("currency", pl.Categorical)]
    )
    def test_rows_of_another_type_are_refused_without_change(self, lake: Lake, column: str, dtype: pl.DataType) -> None:
        replace_sales(lake, FIRST, FIRST, sales(FIRST))
        with pytest.raises(LakeError) as raised:
            replace_sales(lake, FIRST, FIRST, sales(FIRST, orders=7).with_columns(pl.col(column).cast(dtype)))
        assert "curated/daily_sales" in str(raised.value)
        assert f"{column}: expected {DAILY_SALES.schema[column]}, found {dtype}" in str(raised.value)
        assert orders_by_date(lake) == {FIRST: 1}

    def test_missing_column_is_refused_and_nothing_changes(self, lake: Lake) -> None:
        replace_sales(lake, FIRST, FIRST, sales(FIRST))
        with pytest.raises(pl.exceptions.ColumnNotFoundError, match="units"):
            replace_sales(lake, FIRST, FIRST, sales(FIRST, orders=7).drop("units"))
        assert orders_by_date(lake) == {FIRST: 1}

    def test_columns_fit_in_any_order_and_untyped_nulls_fit_any(self, lake: Lake) -> None:
        frame = sales(FIRST).select(reversed(DAILY_SALES.columns)).with_columns(net=pl.lit(None))
        replace_sales(lake, FIRST, FIRST, frame)
        stored = rows_in(lake, DAILY_SALES)
        assert stored.schema == DAILY_SALES.schema
        assert stored["net"].to_list() == [None]

    def test_failure_of_the_derivation_changes_nothing(self, lake: Lake) -> None:
        replace_sales(lake, FIRST, FIRST, sales(FIRST))

        def fail(_: Lake) -> Sequence[nw.LazyFrame[Any]]:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            lake.replace_dates([DAILY_SALES], FIRST, FIRST, fail)
        assert orders_by_date(lake) == {FIRST: 1}


def test_whole_table_is_replaced_and_can_be_emptied(lake: Lake) -> None:
    lake.replace_all(CUSTOMER_PROFILE, lambda _: lazy(rows(CUSTOMER_PROFILE, {}, {"customer_id": "c2"})))
    lake.replace_all(CUSTOMER_PROFILE, lambda _: lazy(rows(CUSTOMER_PROFILE, {"customer_id": "c3"})))
    assert rows_in(lake, CUSTOMER_PROFILE)["customer_id"].to_list() == ["c3"]
    lake.replace_all(CUSTOMER_PROFILE, lambda _: lazy(rows(CUSTOMER_PROFILE)))
    assert rows_in(lake, CUSTOMER_PROFILE).is_empty()
