"""Customers' profiles, kept up to date by the dates that changed, on a real lake."""

import shutil
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orders_lakehouse.curated import customer_profile as curated
from orders_lakehouse.curated.customer_profile import CUSTOMER_PROFILE
from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.delta import table_cache
from orders_lakehouse.delta.compaction import compact
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.object_store import LakeError
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.derive import derive
from tests.support.rows import on, rows

DAY = on("2020-03-02")
DAYS = 4


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), "UTC")


def write(lake: Lake, day: date, orders: Sequence[dict[str, Any]]) -> None:
    """Let these orders, of one line each, be those of a date."""
    lines = rows(ORDER_LINES, *({"order_date": day, **order} for order in orders))
    lake.replace_dates([ORDER_LINES], day, day, lambda _: [nw.from_native(lines.lazy())])


def profiled(lake: Lake, first: date = DAY, last: date = DAY) -> pl.DataFrame:
    """What stands after a run of some dates."""
    derive(lake, CUSTOMER_PROFILE, (first, last))
    return rows_of(lake.scan(CUSTOMER_PROFILE)).sort("customer_id", "currency")


def made_anew(lake: Lake) -> pl.DataFrame:
    """What all lines come to."""
    latest = lake.latest_date(ORDER_LINES, default=date(2017, 1, 1))
    profile = curated.customer_profile(curated.purchases(lake.scan(ORDER_LINES)), latest)
    return rows_of(profile).sort("customer_id", "currency")


_orders = st.lists(
    st.fixed_dictionaries(
        {
            "customer_id": st.sampled_from(["c1", "c2", "c3", None]),
            "currency": st.sampled_from(["USD", "EUR"]),
            "order_status": st.sampled_from(["delivered", "returned"]),
            "total_price": st.integers(0, 999).map(lambda cents: Decimal(cents) / 100),
        }
    ),
    max_size=3,
)
_steps = st.lists(
    st.tuples(st.sampled_from(["write", "write", "profile", "compact", "remake"]), st.integers(0, DAYS - 1), _orders),
    max_size=7,
)


@settings(max_examples=30)
@given(steps=_steps)
def test_profile_equals_sum_of_all_lines_after_any_history(steps: list[tuple[str, int, list[dict[str, Any]]]]) -> None:
    with TemporaryDirectory() as folder:
        lake = Lake(str(Path(folder, "lake")), "UTC")
        for step, number, orders in steps:
            if step == "write":
                day = DAY + timedelta(days=number)
                write(lake, day, [{"order_id": f"{number}-{place}", **order} for place, order in enumerate(orders)])
            elif step == "profile":
                assert profiled(lake).equals(made_anew(lake))
            elif step == "remake":
                shutil.rmtree(Path(folder, "lake", ORDER_LINES.path), ignore_errors=True)
            else:
                lake.open(ORDER_LINES)
                compact(table_cache.open_own(lake.location(ORDER_LINES)), ORDER_LINES, [[DAY, DAY + timedelta(days=1)]])
        assert profiled(lake).equals(made_anew(lake))


@pytest.fixture
def of_two_dates(lake: Lake) -> Lake:
    """A lake with profiles of two customers' orders on two dates; the files of the second date are gone since."""
    write(lake, DAY, [{"order_id": "o1"}, {"order_id": "o2", "customer_id": "c2"}])
    write(lake, DAY + timedelta(days=1), [{"order_id": "o3"}, {"order_id": "o4", "customer_id": "c2"}])
    assert profiled(lake)["orders"].to_list() == [2, 2]
    shutil.rmtree(Path(lake.url, ORDER_LINES.path, f"order_date={DAY + timedelta(days=1)}"))
    return lake


def test_run_of_few_dates_reads_those_that_changed(of_two_dates: Lake) -> None:
    write(of_two_dates, DAY, [{"order_id": "o1"}, {"order_id": "o2", "customer_id": "c2"}, {"order_id": "o5"}])
    assert profiled(of_two_dates)["orders"].to_list() == [3, 2]


def test_version_with_removed_files_is_not_needed(lake: Lake) -> None:
    write(lake, DAY, [{"order_id": "o1"}])
    profiled(lake)
    write(lake, DAY, [{"order_id": "o1"}, {"order_id": "o2"}])
    table_cache.open_own(lake.location(ORDER_LINES)).vacuum(0, enforce_retention_duration=False, dry_run=False)
    assert profiled(lake)["orders"].to_list() == [2]


def test_removed_first_order_is_searched_on_every_date(of_two_dates: Lake) -> None:
    write(of_two_dates, DAY, [{"order_id": "o2", "customer_id": "c2"}])
    with pytest.raises(LakeError, match="order_lines"):
        profiled(of_two_dates)


@pytest.mark.parametrize("dates", [None, (DAY, DAY + timedelta(days=40))])
def test_run_of_many_dates_reads_all_of_them(of_two_dates: Lake, dates: tuple[date, date] | None) -> None:
    with pytest.raises(LakeError, match="order_lines"):
        derive(of_two_dates, CUSTOMER_PROFILE, dates)


def test_lines_of_a_table_that_was_made_anew_are_all_summed(lake: Lake) -> None:
    write(lake, DAY, [{"order_id": "o1"}])
    write(lake, DAY + timedelta(days=1), [{"order_id": "o2"}])
    assert profiled(lake)["orders"].to_list() == [2]
    shutil.rmtree(Path(lake.url, ORDER_LINES.path))
    # Until it has the version that the profile was made from, and the date that had changed then stands as it did.
    for orders in (["o1"], ["o1", "o3"], ["o1"]):
        write(lake, DAY, [{"order_id": order} for order in orders])
    assert profiled(lake)["orders"].to_list() == [1]
