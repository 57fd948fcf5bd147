"""The dates that there are."""

from datetime import UTC, datetime

import dagster as dg

from orders_lakehouse.partitions import DAILY


def test_dates_that_are_listed_once_are_those_that_dagster_lists() -> None:
    for now in (datetime(2017, 3, 1, 12, tzinfo=UTC), datetime(2017, 3, 2, 12, tzinfo=UTC)):
        with dg.partition_loading_context(now):
            assert DAILY.get_partition_keys() == super(type(DAILY), DAILY).get_partition_keys()
            assert DAILY.get_partition_keys()[-1] == DAILY.get_last_partition_key()
            assert DAILY.get_partition_keys(datetime(2017, 3, 9, tzinfo=UTC))[-1] > DAILY.get_partition_keys()[-1]


def test_changing_the_list_affects_no_other_caller() -> None:
    DAILY.get_partition_keys().clear()  # type: ignore[attr-defined]
    assert DAILY.get_partition_keys()
