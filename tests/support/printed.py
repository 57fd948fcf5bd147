"""Small tables of a lake, and what a command prints of them."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
from deltalake import write_deltalake

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.tables import QUARANTINE_OF
from tests.support.rows import VALID, rows
from tests.support.terminal import Command


def sales(day: str, net: str) -> dict[str, Any]:
    return {"order_date": date.fromisoformat(day), "net": Decimal(net), "gross": Decimal("100000.00")}


def write(lake: Lake, table: Table, *values: dict[str, Any]) -> None:
    write_deltalake(lake.open(table), rows(table, *values), mode="append")


def quarantine(lake: Lake, *order_ids: str) -> None:
    verdict = {"order_date": date(2017, 3, 1), "reasons": "status_unknown", "contract_version": "1", "versions": 1}
    rejected = [{**VALID["raw/orders"], **verdict, "order_id": order_id} for order_id in order_ids]
    table = QUARANTINE_OF["orders"]
    write_deltalake(lake.open(table), pl.DataFrame(rejected, schema=table.schema), mode="append")


def lines_of(output: str) -> list[str]:
    return [line.rstrip() for line in output.splitlines()]


def answer(command: Command, *arguments: str) -> Any:
    status, output, errors = command(*arguments, "--json")
    assert (status, errors) == (0, "")
    return json.loads(output)
