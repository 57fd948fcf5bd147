"""Which captured versions no table stands for."""

from pathlib import Path

import pytest

from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.customers import CUSTOMERS, RAW_CUSTOMERS
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.pipeline.row_accounting import unaccounted_versions
from tests.support.rows import at, on, rows

FIRST, SECOND, THIRD = at("2020-03-02 13:00"), at("2020-03-03 13:00"), at("2020-03-04 13:00")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), "UTC")


def test_moved_row_accounts_for_no_versions_at_its_old_date(lake: Lake) -> None:
    lake.append(RAW_ORDERS, rows(RAW_ORDERS, *({"captured_at": instant} for instant in (FIRST, SECOND))))
    # On the date that it left, and, with all of its versions, on the one where it counts.
    lake.append(ORDERS, rows(ORDERS, {}, {"order_date": on("2020-03-03"), "versions": 2}))
    assert unaccounted_versions(lake, ORDERS).is_empty()

    lake.append(RAW_ORDERS, rows(RAW_ORDERS, {"order_id": "o2", "captured_at": THIRD}))
    assert unaccounted_versions(lake, ORDERS).select("order_id", "captured_at").rows() == [("o2", THIRD)]
    lake.append(RAW_ORDERS, rows(RAW_ORDERS, {"captured_at": THIRD}))
    found = unaccounted_versions(lake, ORDERS).select("order_id", "captured_at").sort("order_id")
    assert found.rows() == [("o1", THIRD), ("o2", THIRD)]


def test_dimension_has_a_row_for_each_version(lake: Lake) -> None:
    instants = (FIRST, SECOND, THIRD)
    lake.append(RAW_CUSTOMERS, rows(RAW_CUSTOMERS, *({"captured_at": instant} for instant in instants)))
    lake.append(CUSTOMERS, rows(CUSTOMERS, {}))
    assert unaccounted_versions(lake, CUSTOMERS)["captured_at"].to_list() == [SECOND, THIRD]
    lake.append(CUSTOMERS, rows(CUSTOMERS, {}, {}))
    assert unaccounted_versions(lake, CUSTOMERS).is_empty()
