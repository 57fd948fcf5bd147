"""Processes that write the same tables at once."""

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date, timedelta
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier

import polars as pl
import pytest

from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.tables import TABLES
from tests.support.rows import rows
from tests.support.sales import DAYS, FIRST, IDENTITY, one_row_for_each_order, replace_sales, rows_in, sales

# Other processes find these functions by their names in this module.
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
    lake.replace_dates([DAILY_SALES], day, day, lambda source: [one_row_for_each_order(source, day)])


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
@pytest.mark.long
@pytest.mark.xdist_group("lake_processes")
class TestManyProcesses:
    def test_eight_writers_of_one_date_keep_what_all_knew(self, lake: Lake, processes: ProcessPoolExecutor) -> None:
        replace_sales(lake, DAYS[0], DAYS[2], sales(*DAYS[:3]))
        work = [
            processes.submit(_append_upstream_and_derive, lake.url, _aws(), number, DAYS[1], 8) for number in range(8)
        ]
        for done in work:
            done.result(timeout=100)
        stored = rows_in(lake, DAILY_SALES)
        of_date = stored.filter(pl.col("order_date") == DAYS[1])["currency"]
        assert sorted(of_date) == [f"o{number}" for number in range(8)]
        assert stored.filter(pl.col("order_date") != DAYS[1]).equals(sales(DAYS[0], DAYS[2]))

    def test_twelve_writers_of_different_dates_do_not_conflict(
        self, lake: Lake, processes: ProcessPoolExecutor
    ) -> None:
        replace_sales(lake, DAYS[0], DAYS[-1] + timedelta(days=1), sales(*DAYS, DAYS[-1] + timedelta(days=1)))
        work = [
            processes.submit(_append_upstream_and_derive, lake.url, _aws(), number, day, _PROCESSES)
            for number, day in enumerate(DAYS)
        ]
        for done in work:
            done.result(timeout=100)
        found = rows_in(lake, DAILY_SALES).select("order_date", "currency").rows()
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
    replace_sales(lake, dates[0], neighbour, sales(*dates, neighbour))
    with _pool(28) as pool:
        work = [
            pool.submit(_append_upstream_and_derive, lake.url, _aws(), number, day, 28)
            for number, day in enumerate(dates)
        ]
        for done in work:
            done.result(timeout=300)
    found = rows_in(lake, DAILY_SALES).select("order_date", "currency").rows()
    assert sorted(found) == [*((day, f"o{number}") for number, day in enumerate(dates)), (neighbour, "EUR")]
    assert rows_in(lake, RAW_ORDERS).height == 28
