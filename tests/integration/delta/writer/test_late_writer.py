"""A writer that others overtake."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

import narwhals as nw
import polars as pl
import pytest

from orders_lakehouse.curated.customer_profile import CUSTOMER_PROFILE
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta import commits
from orders_lakehouse.delta.object_store import StorageUnavailableError
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import ORDERS
from tests.support.rows import rows
from tests.support.sales import DAYS, FIRST, lazy, orders_by_date, replace_sales, rows_in, sales


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
        return [lazy(frame)]

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
        replace_sales(lake, FIRST, FIRST, sales(*before))
        upstream = [sales(FIRST, orders=2)]

        def meanwhile() -> None:
            upstream[0] = sales(*other, orders=3)
            replace_sales(lake, FIRST, FIRST, upstream[0])

        derive, calls = _interrupted(meanwhile, lambda: upstream[0])
        lake.replace_dates([DAILY_SALES], FIRST, FIRST, derive)
        assert orders_by_date(lake) == dict.fromkeys(other, 3)
        assert calls == [2]

    @pytest.mark.parametrize("every", [1, 2])
    def test_writer_of_many_dates_ignores_other_dates(self, lake: Lake, every: int) -> None:
        many = [FIRST + timedelta(days=number) for number in range(0, 60, every)]
        outside = FIRST + timedelta(days=90)
        replace_sales(lake, outside, outside, sales(outside))
        derive, calls = _interrupted(
            lambda: replace_sales(lake, outside, outside, sales(outside, orders=8)), lambda: sales(*many)
        )
        lake.replace_dates([DAILY_SALES], many[0], many[-1], derive)
        assert calls == [1]
        assert orders_by_date(lake) == {**dict.fromkeys(many, 1), outside: 8}

    def test_writer_without_rows_keeps_concurrent_rows(self, lake: Lake) -> None:
        lake.open(DAILY_SALES)
        upstream = [sales()]

        def meanwhile() -> None:
            upstream[0] = sales(FIRST, orders=3)
            replace_sales(lake, FIRST, FIRST, upstream[0])

        derive, _ = _interrupted(meanwhile, lambda: upstream[0])
        lake.replace_dates([DAILY_SALES], FIRST, FIRST, derive)
        assert orders_by_date(lake) == {FIRST: 3}

    def test_writer_of_a_range_derives_again_after_write_to_one_date(self, lake: Lake) -> None:
        replace_sales(lake, DAYS[0], DAYS[4], sales(*DAYS[:5]))
        orders = [2]

        def meanwhile() -> None:
            orders[0] = 3
            replace_sales(lake, DAYS[3], DAYS[3], sales(DAYS[3], orders=3))

        derive, calls = _interrupted(meanwhile, lambda: sales(*DAYS[1:4], orders=orders[0]))
        lake.replace_dates([DAILY_SALES], DAYS[1], DAYS[3], derive)
        assert calls == [2]
        assert orders_by_date(lake) == {DAYS[0]: 1, DAYS[1]: 3, DAYS[2]: 3, DAYS[3]: 3, DAYS[4]: 1}

    def test_writer_of_another_date_derives_once_and_both_stand(self, lake: Lake) -> None:
        replace_sales(lake, DAYS[0], DAYS[1], sales(*DAYS[:2]))
        derive, calls = _interrupted(
            lambda: replace_sales(lake, DAYS[1], DAYS[1], sales(DAYS[1], orders=3)),
            lambda: sales(DAYS[0], orders=2),
        )
        lake.replace_dates([DAILY_SALES], DAYS[0], DAYS[0], derive)
        assert calls == [1]
        assert orders_by_date(lake) == {DAYS[0]: 2, DAYS[1]: 3}

    @pytest.mark.parametrize("touched", [0, 1], ids=["the first target", "the second target"])
    def test_writer_of_two_targets_derives_both_again(self, lake: Lake, touched: int) -> None:
        targets = [DAILY_SALES, ORDERS]
        versions = [1]

        def frames() -> list[pl.DataFrame]:
            return [sales(FIRST, orders=versions[0]), rows(ORDERS, {"order_date": FIRST, "versions": versions[0]})]

        def write(which: Sequence[int]) -> None:
            made = frames()
            lake.replace_dates([targets[n] for n in which], FIRST, FIRST, lambda _: [lazy(made[n]) for n in which])

        write([0, 1])
        calls = [0]

        def derive(_: Lake) -> Sequence[nw.LazyFrame[Any]]:
            calls[0] += 1
            stale = frames()
            if calls[0] == 1:
                versions[0] = 2
                write([touched])
            return [lazy(frame) for frame in stale]

        lake.replace_dates(targets, FIRST, FIRST, derive)
        assert calls == [2]
        assert rows_in(lake, DAILY_SALES)["orders"].to_list() == [2]
        assert rows_in(lake, ORDERS)["versions"].to_list() == [2]

    def test_writer_of_a_whole_table_derives_again(self, lake: Lake) -> None:
        units = [1]
        calls = [0]

        def profile(_: Lake) -> nw.LazyFrame[Any]:
            return lazy(rows(CUSTOMER_PROFILE, {"units": units[0]}))

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
        assert rows_in(lake, CUSTOMER_PROFILE)["units"].to_list() == [2]

    def test_writer_that_always_loses_gives_up_with_an_error(self, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(commits, "_ATTEMPTS", 3)
        monkeypatch.setattr(commits.time, "sleep", lambda _: None)
        replace_sales(lake, FIRST, FIRST, sales(FIRST))
        calls = [0]

        def derive(_: Lake) -> Sequence[nw.LazyFrame[Any]]:
            calls[0] += 1
            replace_sales(lake, FIRST, FIRST, sales(FIRST, orders=7))
            return [lazy(sales(FIRST, orders=2))]

        with pytest.raises(StorageUnavailableError, match="3 times in a row"):
            lake.replace_dates([DAILY_SALES], FIRST, FIRST, derive)
        assert calls == [3]
        assert orders_by_date(lake) == {FIRST: 7}
