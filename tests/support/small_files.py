"""A lake of many small files, as many small runs leave it."""

import json
import os
import time
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
import pytest

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import MONEY_SUM, QUANTITY_SUM
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.pipeline.capture import capture
from orders_lakehouse.tables import KEY_DATES
from tests.support.rows import at as instant
from tests.support.rows import on, rows

FIRST = on("2020-03-01")
DAYS = [FIRST + timedelta(days=more) for more in range(4)]
CALENDAR = Calendar(on("2020-01-01"), "UTC")
TABLES = (RAW_ORDERS, KEY_DATES, DAILY_SALES)
KEEP = 30

THOROUGH = (pytest.mark.thorough, pytest.mark.slow)


def an_order(number: int, day: date) -> Mapping[str, Any]:
    return {"order_id": f"o{number:05}", "ordered_at": instant(f"{day} 10:00"), "captured_on": day}


def learn(lake: Lake, *orders: Mapping[str, Any]) -> None:
    capture(lake, RAW_ORDERS, rows(RAW_ORDERS, *orders), CALENDAR)


def derive(lake: Lake, first: date, last: date, run_id: str = "") -> None:
    """Derive a row for each order, which shows the order that it comes from."""

    def sales(source: Lake) -> list[nw.LazyFrame[Any]]:
        one, nothing = nw.lit(1).cast(nw.Int64), nw.lit(0).cast(nw.Decimal(*MONEY_SUM))
        orders = source.scan(RAW_ORDERS, between=(first, last))
        return [
            orders.select(
                nw.col("captured_on").alias("order_date"),
                nw.col("order_id").alias("currency"),
                orders=one,
                lines=one,
                units=one.cast(nw.Decimal(*QUANTITY_SUM)),
                gross=nothing,
                net=nothing,
            )
        ]

    lake.replace_dates([DAILY_SALES], first, last, sales, run_id)


def rows_in(lake: Lake, table: Table) -> pl.DataFrame:
    frame: pl.DataFrame = lake.scan(table).to_native().collect()
    return frame.sort(frame.columns)


def files_in(lake: Lake, *tables: Table) -> int:
    return sum(files_of(lake.find(table), table).height for table in tables)


def followed(lake: Lake, runs: int) -> None:
    """Fill a lake as sensors do, one order at a time."""
    for number in range(runs):
        day = DAYS[number % len(DAYS)]
        learn(lake, an_order(number, day))
        derive(lake, day, day)


def captured_twice(lake: Lake) -> None:
    """Write two small files for each day."""
    for turn in range(2):
        orders = [an_order(10 * turn + number, day) for number, day in enumerate(DAYS)]
        lake.insert_new(RAW_ORDERS, rows(RAW_ORDERS, *orders), ("order_id", "updated_at"))


def rows_at(lake: Lake, version: int) -> list[str]:
    found: list[str] = object_store.scan(lake.find(RAW_ORDERS, version)).collect()["order_id"].sort().to_list()
    return found


def made_ago(location: str, ages: Mapping[int, int], *, checkpoints: bool = False) -> None:
    """Make commits and their files the given number of days old, and remove checkpoints, which know their age."""
    log = Path(location, "_delta_log")
    if not checkpoints:
        for path in [*log.glob("*.checkpoint*.parquet"), log / "_last_checkpoint"]:
            path.unlink(missing_ok=True)
    for version, days in ages.items():
        ago = time.time() - 86400 * days
        commit = log / f"{version:020}.json"
        lines = []
        for line in map(json.loads, commit.read_text().splitlines()):
            for action, when in (
                ("add", "modificationTime"),
                ("remove", "deletionTimestamp"),
                ("commitInfo", "timestamp"),
            ):
                if action in line:
                    line[action][when] = int(1000 * ago)
            if "add" in line:
                os.utime(Path(location, line["add"]["path"]), (ago, ago))
            lines.append(json.dumps(line))
        commit.write_text("\n".join(lines))
        for path in log.glob(f"{version:020}.*"):
            os.utime(path, (ago, ago))


PLACES = ["disk", "s3"]
LONG_ON_S3 = ["disk", pytest.param("s3", marks=THOROUGH)]
