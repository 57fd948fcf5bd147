"""Assets whose wiring decides what comes out, run on a real lake without a database."""

from datetime import timedelta
from pathlib import Path

import dagster as dg
import narwhals as nw
import pytest

from orders_lakehouse.curated.customer_profile import CUSTOMER_PROFILE
from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.delta.tables import Lake
from tests.support.rows import on, rows

pytestmark = pytest.mark.xdist_group("definitions")

DAY = on("2020-03-02")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), "UTC")


def _write_lines(lake: Lake, *order_ids: str) -> None:
    lines = rows(ORDER_LINES, *({"order_id": order_id} for order_id in order_ids))
    lake.replace_dates([ORDER_LINES], DAY, DAY + timedelta(days=9), lambda _: [nw.from_native(lines.lazy())])


def _profiles(lake: Lake) -> list[int]:
    from orders_lakehouse.defs.assets.curated import curated_assets

    (customer_profile,) = (asset for asset in curated_assets if asset.key.path[-1] == CUSTOMER_PROFILE.name)

    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            [customer_profile],
            partition_key=str(DAY),
            resources={"lake": lake},
            instance=instance,
            raise_on_error=False,
        )
        assert done.success, [event.message for event in done.all_events if event.is_step_failure]
    orders: list[int] = lake.scan(CUSTOMER_PROFILE).to_native().collect()["orders"].to_list()
    return orders


def test_profiles_follow_the_order_lines(lake: Lake) -> None:
    _write_lines(lake, "o1", "o2")
    assert _profiles(lake) == [2]
    _write_lines(lake, "o1")
    assert _profiles(lake) == [1]


@pytest.mark.parametrize("before", [[], ["o1"]], ids=["a new shop", "a shop whose orders all went"])
def test_without_order_lines_there_are_no_profiles(lake: Lake, before: list[str]) -> None:
    _write_lines(lake, *before)
    if before:
        assert _profiles(lake) == [1]
    _write_lines(lake)
    assert _profiles(lake) == []
