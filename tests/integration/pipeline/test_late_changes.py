"""What changes after it was first captured: moved, added, corrected, deleted, undeleted, or late to arrive."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.lakehouse import Lakehouse, assert_same_lake, changed, failures, not_accounted_for, ran
from tests.support.late_changes import (
    AFTER_RAW,
    ALL_BUT_FACTS,
    CHANGES,
    CHANGES_BACK,
    FIRST,
    IN_THE_LAKE,
    LAST,
    RAW,
    SHOP,
)

pytestmark = [pytest.mark.slow, pytest.mark.either_engine]


def customers_of(lakehouse: Lakehouse, *order_ids: str) -> list[tuple[str, ...]]:
    named = ", ".join(f"'{order_id}'" for order_id in order_ids)
    return lakehouse.warehouse_rows(
        "SELECT f.order_id, f.customer_key, c.customer_name, c.address FROM marts.fct_orders AS f "
        f"JOIN marts.dim_customers AS c USING (customer_key) WHERE f.order_id IN ({named}) ORDER BY f.ordered_at"
    )


def rows_at(lakehouse: Lakehouse, date_id: int) -> list[int]:
    return [
        lakehouse.warehouse_rows(f"SELECT count(*) FROM marts.{fact} WHERE date_id = {date_id}")[0][0]
        for fact in ("fct_orders", "fct_order_lines")
    ]


@pytest.mark.long
def test_late_changes_reach_the_marts_and_equal_a_full_refresh(
    lakehouse: Lakehouse, tmp_path: Path, postgres_url_factory: Callable[[str], str]
) -> None:
    changed(lakehouse, SHOP)
    ran(lakehouse, "2017-01-01", "2017-01-06")
    assert lakehouse.wrong_marts() == {}
    assert rows_at(lakehouse, 20170104) == [1, 1]
    inferred = customers_of(lakehouse, "gets an item")
    assert [name for _, _, name, _ in inferred] == [None]

    changed(lakehouse, CHANGES)
    ran(lakehouse, "2017-01-07", "2017-01-09", select=ALL_BUT_FACTS)
    # The customer has registered, and the fact needed no repair.
    assert [(*row[:2], "Cleo", None) for row in inferred] == customers_of(lakehouse, "gets an item")

    ran(lakehouse, "2017-01-01", "2017-01-06", select=IN_THE_LAKE)
    assert lakehouse.wrong_curated() == {}
    assert not_accounted_for(lakehouse) == {}

    changed(lakehouse, CHANGES_BACK)
    ran(lakehouse, "2017-01-10", select=RAW)
    ran(lakehouse, "2017-01-01", "2017-01-06")
    assert lakehouse.wrong_marts() == {}
    assert lakehouse.wrong_curated() == {}
    assert not_accounted_for(lakehouse) == {}
    assert rows_at(lakehouse, 20170104) == [0, 0]
    (old, new) = customers_of(lakehouse, "before the move", "after the move")
    assert (old[2:], new[2:]) == (("Ada", "Old Street 1"), ("Ada", "New Street 1"))
    assert old[1] != new[1]

    with lakehouse.copy_of_raw(tmp_path / "again", postgres_url_factory("warehouse")) as again:
        ran(again, FIRST, LAST, select="not group:raw")
        assert again.wrong_marts() == {}
        assert lakehouse.mart_checksums() == again.mart_checksums()
        assert_same_lake(lakehouse, again)


@pytest.fixture
def changed_lakehouse(lakehouse: Lakehouse) -> Lakehouse:
    """A lakehouse that has captured late changes, with the touched dates still to be derived."""
    changed(lakehouse, SHOP)
    ran(lakehouse, "2017-01-01", "2017-01-06", select=IN_THE_LAKE)
    assert lakehouse.wrong_curated() == {}
    changed(lakehouse, CHANGES)
    ran(lakehouse, "2017-01-01", "2017-01-09", select=RAW)
    # A version of a dimension concerns all later dates of its orders: it comes first.
    ran(lakehouse, "2017-01-01", "2017-01-09", select="key:cleansed/customers or key:cleansed/products")
    assert set(lakehouse.wrong_curated()) == {"order_lines", "daily_sales", "customer_profile"}
    return lakehouse


@pytest.mark.thorough
@pytest.mark.parametrize("lakehouse", ["s3"], indirect=True)
def test_late_changes_reach_the_curated_tables_on_s3(changed_lakehouse: Lakehouse) -> None:
    """On disk the next test says so first."""
    ran(changed_lakehouse, FIRST, LAST, select=AFTER_RAW)
    assert changed_lakehouse.wrong_curated() == {}
    assert not_accounted_for(changed_lakehouse) == {}


@pytest.mark.thorough
def test_order_of_derived_dates_does_not_matter(changed_lakehouse: Lakehouse, tmp_path: Path) -> None:
    days = [f"2017-01-0{number}" for number in range(1, 10)]
    shuffled = random.Random(7021994).sample(days, len(days))  # noqa: S311 (an order, not a secret)
    again = changed_lakehouse.copy_of_lake(tmp_path / "full", "raw")
    ran(again, FIRST, LAST, select=AFTER_RAW)
    assert again.wrong_curated() == {}

    for name, ranges in {
        "one_by_one_shuffled": [(one, one) for one in shuffled],
        "some_together_backwards": [(days[5], days[8]), (days[1], days[4]), (days[0], days[0])],
    }.items():
        lakehouse = changed_lakehouse.copy_of_lake(tmp_path / name)
        for first, last in ranges:
            ran(lakehouse, first, last, select=AFTER_RAW)
        assert lakehouse.wrong_curated() == {}, name
        assert not_accounted_for(lakehouse) == {}, name
        assert_same_lake(lakehouse, again)


@pytest.mark.thorough
def test_moved_order_does_not_stop_the_run_of_its_new_date(lakehouse: Lakehouse) -> None:
    changed(lakehouse, SHOP)
    ran(lakehouse, "2017-01-01", "2017-01-06", select=IN_THE_LAKE)
    changed(
        lakehouse,
        "UPDATE shop.orders SET ordered_at = '2017-01-08 09:00+00', updated_at = '2017-01-08 10:00+00' "
        "WHERE order_id = 'moves'",
    )
    result = lakehouse.run("2017-01-08")
    assert result.success, failures(result)
    assert rows_at(lakehouse, 20170108) == [1, 1]


@pytest.mark.thorough
def test_row_reverted_at_an_equal_clock_is_as_in_the_shop(lakehouse: Lakehouse) -> None:
    changed(lakehouse, SHOP)
    for quantity in (5, 50, 5):
        changed(lakehouse, f"UPDATE shop.order_items SET quantity = {quantity} WHERE order_id = 'corrected quietly'")
        ran(lakehouse, "2017-01-01", "2017-01-06", select=IN_THE_LAKE)
    assert lakehouse.wrong_curated() == {}
