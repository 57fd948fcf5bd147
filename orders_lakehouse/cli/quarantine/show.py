"""`lakehouse quarantine show`: all details of one row in quarantine."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import click
import narwhals as nw
import polars as pl
from rich.text import Text

from orders_lakehouse.cli.backfill_request import CAPTURE_JOB, DERIVE_JOB
from orders_lakehouse.cli.formatting import console, indented, program, safe, show_rows
from orders_lakehouse.cli.quarantine.reasons import BEGIN, MEANING, WORD, demand_of, to_do
from orders_lakehouse.cli.quarantine.selection import CAPTURED, QuarantineError, table_named, unmasked_option
from orders_lakehouse.contracts.base import columns_of, personal_columns, rules_of
from orders_lakehouse.contracts.lineage import origins
from orders_lakehouse.contracts.personal import masked
from orders_lakehouse.contracts.raw import LINEAGE
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.waivers import KEY_SEPARATOR
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.children import (
    OF_THE_ORDER,
    ORDER_BEFORE_START,
    ORDER_QUARANTINED,
    ORDERED_BEFORE_START,
)
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.pipeline.key_index import versions_of_row
from orders_lakehouse.pipeline.quarantine import quarantined
from orders_lakehouse.pipeline.source_lag import orders_in_shop
from orders_lakehouse.pipeline.stored_calendar import calendar_of
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import QUARANTINE_OF, RAW_OF, WAIVABLE
from orders_lakehouse.transforms.split import key_of_row

# Columns that identify versions of a row.
_CLOCKS = ("updated_at", "captured_at")


@click.command("show")
@click.argument("table")
@click.argument("key")
@unmasked_option
def command(table: str, key: str, unmasked: bool) -> None:
    """Show one row: why it was rejected, its values, where it is in the shop, its versions, and what to do.

    KEY is written as checks print it: "10442 / 3" for a line of an order.
    """
    show(table, key, unmasked=unmasked)


def show(table_name: str, key: str, *, unmasked: bool = False) -> None:
    """Print all details of a row in quarantine.

    Args:
        table_name: Name of its table.
        key: Its key as checks print it, such as `10442 / 3`.
        unmasked: Show personal values.

    Raises:
        QuarantineError: No row with that key is in quarantine; the message says where it is.
    """
    table, lake = table_named(table_name), configured_lake()
    rows = _with_key(nw.from_native(quarantined(lake, table)), table, key).sort("captured_at", descending=True)
    if rows.is_empty():
        raise QuarantineError(_elsewhere(lake, table, key))
    personal = frozenset() if unmasked else personal_columns(QUARANTINE_OF[table.name].model)
    for row in masked(rows, personal).iter_slices(1):
        _show_row(table, key, row)
    values = rows.row(0, named=True)
    click.echo(f"\nIn the shop:\n  {safe(_select(table, values))}")
    _show_history(lake, table, values, personal)
    _show_next(table, key, rows)


def _with_key(rows: nw.LazyFrame[Any], table: Table, key: str) -> pl.DataFrame:
    return rows_of(rows.filter(key_of_row(table) == key))


def _elsewhere(lake: Lake, table: Table, key: str) -> str:
    if find(lake, table) is not None:
        dates = _with_key(lake.scan(table), table, key)[str(table.partitioned_by)].unique().sort()
        if dates.len():
            return f"{key!r} is not in quarantine: it is in {table.path} on {', '.join(map(str, dates))}"
    columns = KEY_SEPARATOR.join(table.key)
    return f"{key!r} is neither in {QUARANTINE_OF[table.name].path} nor in {table.path}; expected {columns}"


def _show_row(table: Table, key: str, row: pl.DataFrame) -> None:
    """Print why a row is in quarantine, and its values."""
    values = row.row(0, named=True)
    day = values[str(table.partitioned_by)]
    heading = f"{table.name} {key}, {day}, rejected by version {values['contract_version']} of its contract"
    console().print(Text(safe(heading), style="bold"))
    for reason in values["reasons"].split(", "):
        console().print(indented(safe(f"{reason}: {demand_of(table, reason)}"), 2))
        for column in _columns_read(table, reason):
            console().print(indented(safe(f"  {column} is {_as_literal(values[column])}"), 2))
    show_rows(row.drop("reasons", "contract_version"))


def _columns_read(table: Table, reason: str) -> list[str]:
    """Return the columns of the original row that the rules of a reason read."""
    read_columns = [
        column for rule in rules_of(table.model) if rule.reason == reason for column in columns_of(rule, table.schema)
    ]
    by_column = origins(table)
    source = RAW_OF[table.name].columns
    columns = [
        origin.column for column in read_columns for origin in by_column.get(column, ()) if origin.column in source
    ]
    return list(dict.fromkeys(columns))


def _as_literal(value: Any) -> str:
    """Return a value as an SQL literal, so that blanks are visible."""
    if value is None:
        return "null"
    return str(value) if isinstance(value, int) else "'{}'".format(str(value).replace("'", "''"))


def _select(table: Table, values: Mapping[str, Any]) -> str:
    is_row = " AND ".join(f"{name} = {_as_literal(values[name])}" for name in table.key)
    return f"SELECT * FROM shop.{table.name} WHERE {is_row};"


def _show_history(lake: Lake, table: Table, values: Mapping[str, Any], personal: frozenset[str]) -> None:
    """Print the versions of a row in raw: change clock, capture, and the columns that differ between them."""
    versions = versions_of_row(lake, RAW_OF[table.name], [str(values[name]) for name in table.key])
    content = [name for name in versions.columns if name not in (*_CLOCKS, *LINEAGE)]
    differing = [name for name in content if versions[name].n_unique() > 1]
    click.echo(f"\nIn raw: {versions.height} version{'' if versions.height == 1 else 's'}")
    show_rows(masked(versions, personal).select(*_CLOCKS, *differing))


def _show_next(table: Table, key: str, rows: pl.DataFrame) -> None:
    reasons = list(dict.fromkeys(reason for text in rows["reasons"] for reason in text.split(", ")))
    days = rows[str(table.partitioned_by)].unique().sort()
    if set(reasons) <= set(OF_THE_ORDER):
        return _show_its_order(rows, reasons)
    if reasons == [ORDERED_BEFORE_START]:
        return click.echo(f"\n{MEANING[BEGIN][0].upper()}{MEANING[BEGIN][1:]}.")
    if WORD in map(to_do, reasons):
        click.echo(f"\nThe shop may be right: {MEANING[WORD]}. Then derive its date again:")
        click.echo(f"  {program()} backfill {days[0]} {days[-1]} --job {DERIVE_JOB}")
    click.echo("\nOnce it is corrected in the shop, run the date of its new updated_at:")
    if table in CAPTURED:
        click.echo(f"  {program()} backfill DATE DATE")
        click.echo("A correction is a new version; this version stays in quarantine without any effect.")
    else:
        click.echo(f"  {program()} backfill DATE DATE --job {CAPTURE_JOB}")
        click.echo("Then run the date at which it counts, so that it leaves quarantine:")
        for day in days:
            click.echo(f"  {program()} backfill {day} {day} --job {DERIVE_JOB}")
    if set(reasons) <= WAIVABLE:
        click.echo(f"\nOr waive it in {settings().waivers.name}, and then: {program()} quarantine replay")
        for reason in reasons:
            entry = {"table": table.name, "rule": reason, "key": key, "reason": "", "owner": ""}
            lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in entry.items()]
            click.echo("\n".join(["", "[[waiver]]", *lines, "granted = ", "expires = "]))


def _show_its_order(rows: pl.DataFrame, reasons: Sequence[str]) -> None:
    """Print what a row waits for that breaks no rule itself."""
    order_ids = rows["order_id"].unique().sort()
    click.echo(f"\nIt needs no correction itself: it returns with its order, {safe(', '.join(order_ids))}.")
    if {ORDER_QUARANTINED, ORDER_BEFORE_START} & set(reasons):
        click.echo("Why the order is left out:")
        for order_id in order_ids:
            click.echo(safe(f"  {program()} quarantine show orders {shlex.quote(order_id)}"))
    else:
        click.echo("\n".join(_where_orders_are(order_ids.to_list())))


def _where_orders_are(order_ids: Sequence[str]) -> list[str]:
    """Describe orders that raw does not have: whether the shop has them, and the dates that capture them."""
    lake = configured_lake()
    try:
        changed = orders_in_shop(order_ids, calendar_of(lake))
    except ExpectedError as error:
        return [f"The order has not been captured yet, or is not in the shop, which cannot be asked: {error}"]
    lines = []
    for order_id in order_ids:
        day = changed.get(order_id)
        if day is None:
            lines.append(f"Neither the shop nor raw has the order {safe(order_id)}.")
        else:
            lines.append(
                f"The shop has the order {safe(order_id)}, last changed on {day}, and raw does not. Capture it:"
            )
            lines.append(f"  {program()} backfill {day} {day}")
    return lines
