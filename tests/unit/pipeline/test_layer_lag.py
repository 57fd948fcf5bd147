"""What a later layer lacks, or has too much, and since when."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from orders_lakehouse.curated.order_lines import ORDER_LINES
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.order_items import ORDER_ITEMS, RAW_ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.pipeline.layer_lag import LayerLag, curated_rows, curated_totals, fact_lag
from orders_lakehouse.tables import FACTS
from tests.support.rows import at, on, rows

LONG_AGO, LATELY, NOW = at("2020-03-02 13:00"), at("2020-03-20 08:00"), at("2020-03-20 09:00")
FIRST, SECOND, THIRD = on("2020-03-02"), on("2020-03-03"), on("2020-03-04")
LINES = next((curated.table, fact) for curated, fact in FACTS)
Rows = Sequence[Mapping[str, Any]]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), "UTC")


def captured(lake: Lake, orders: Rows = (), items: Rows = ()) -> None:
    lake.append(RAW_ORDERS, rows(RAW_ORDERS, *orders))
    lake.append(RAW_ORDER_ITEMS, rows(RAW_ORDER_ITEMS, *items))


def cleansed(lake: Lake, orders: Rows = (), items: Rows = ()) -> None:
    lake.append(ORDERS, rows(ORDERS, *orders))
    lake.append(ORDER_ITEMS, rows(ORDER_ITEMS, *items))


def waiting(lake: Lake) -> LayerLag:
    totals = curated_totals(lake, *LINES)
    return fact_lag(lake, *LINES, totals, lambda dates: curated_rows(lake, *LINES, dates))


def seen(instant: datetime, **more: Any) -> dict[str, Any]:
    return {"captured_at": instant, **more}


def test_moved_order_that_still_stands_at_its_old_date_is_late(lake: Lake) -> None:
    captured(lake, [seen(LONG_AGO), seen(LATELY)], [seen(LONG_AGO)])
    cleansed(lake, [seen(LATELY, order_date=SECOND)], [seen(LONG_AGO, order_date=SECOND)])
    lake.append(ORDER_LINES, rows(ORDER_LINES, {}, {"order_date": SECOND}))
    assert waiting(lake) == LayerLag([FIRST], LATELY)


@pytest.mark.parametrize("tombstone", [True, False])
def test_line_that_went_alone_is_as_late_as_that(lake: Lake, tombstone: bool) -> None:
    captured(lake, [seen(LONG_AGO)], [seen(LONG_AGO), seen(LATELY)])
    # Deleted; or in quarantine.
    cleansed(lake, [seen(LONG_AGO)], [seen(LATELY, is_deleted=True)] if tombstone else [])
    lake.append(ORDER_LINES, rows(ORDER_LINES, {}))
    assert waiting(lake) == LayerLag([FIRST], LATELY)


def test_longest_waiting_row_counts(lake: Lake) -> None:
    for number, instant in enumerate((LATELY, NOW)):
        key = {"order_id": f"o{number}"}
        captured(lake, [seen(instant, **key)], [seen(LONG_AGO, **key)])
        cleansed(lake, [seen(instant, **key, is_deleted=True)])
        lake.append(ORDER_LINES, rows(ORDER_LINES, {**key, "order_date": (FIRST, SECOND)[number]}))
    assert waiting(lake) == LayerLag([FIRST, SECOND], LATELY)


def test_unknown_row_is_late_since_its_date(lake: Lake) -> None:
    lake.append(ORDER_LINES, rows(ORDER_LINES, {}))
    assert waiting(lake) == LayerLag([FIRST], at("2020-03-02"))


def test_changed_line_is_late_since_then_and_double_one_always(lake: Lake) -> None:
    captured(lake, [seen(LONG_AGO)], [seen(LONG_AGO)])
    cleansed(lake, [seen(LATELY, status="shipped")], [seen(LONG_AGO)])
    lake.append(ORDER_LINES, rows(ORDER_LINES, {}))
    assert waiting(lake) == LayerLag([FIRST], LATELY)

    lake.append(ORDER_LINES, rows(ORDER_LINES, {"order_date": THIRD}, {"order_date": THIRD}))
    captured(lake, [seen(NOW)])
    cleansed(lake, [seen(LONG_AGO, order_date=THIRD)], [seen(LONG_AGO, order_date=THIRD)])
    assert waiting(lake) == LayerLag([FIRST, THIRD], LONG_AGO)


def test_layer_that_catches_up_during_the_look_is_not_late(lake: Lake) -> None:
    captured(lake, [seen(LONG_AGO)], [seen(LONG_AGO)])
    cleansed(lake, [seen(LONG_AGO)], [seen(LONG_AGO)])
    before = curated_totals(lake, *LINES)
    lines = rows(ORDER_LINES, {})

    def shown(_: object) -> pl.DataFrame:
        lake.append(ORDER_LINES, lines)
        return curated_rows(lake, *LINES, [FIRST])

    assert fact_lag(lake, *LINES, before, shown) == LayerLag([], None)
