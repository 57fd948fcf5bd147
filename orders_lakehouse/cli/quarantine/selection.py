"""The options that select rows in quarantine, and the tables and reasons that they name."""

import re
from collections.abc import Callable
from datetime import date

import click

from orders_lakehouse.cli.parameters import DATE
from orders_lakehouse.contracts.base import rules_of
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.pipeline.quarantine import Chosen
from orders_lakehouse.tables import CLEANSED, DIMENSIONS

# Tables that the capturing job cleanses, by capture date: those of dimensions.
CAPTURED = DIMENSIONS


class QuarantineError(ExpectedError):
    """The selected table, reason or row does not exist in the quarantine."""


def selection_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that select rows in quarantine: `table`, `reason` and `day`."""
    options = [
        click.option("--table", metavar="T", help="Only rows of one table, such as order_items."),
        click.option("--reason", metavar="R", help="Only rows with one reason, such as quantity_not_positive."),
        click.option("--date", "day", type=DATE, metavar="D", help="Only rows that would count at one date."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


unmasked_option = click.option("--unmasked", is_flag=True, help="Show personal values.")


def choose(table: str | None, reason: str | None, day: date | None) -> Chosen:
    """Return the selection of rows.

    Args:
        table: Name of a table, with or without its layer.
        reason: Name of a reason.
        day: Date at which the rows would count.

    Raises:
        QuarantineError: The table or the reason does not exist.
    """
    tables = CLEANSED if table is None else (table_named(table),)
    known = {rule.reason for each in tables for rule in rules_of(each.model)}
    if reason is not None and reason not in known:
        raise QuarantineError(f"there is no reason {reason!r}; the reasons are {', '.join(sorted(known))}")
    return Chosen(tables, reason, day)


def table_named(name: str) -> Table:
    """Return the cleansed table with a name, with or without its layer.

    Raises:
        QuarantineError: The table does not exist.
    """
    tables = {table.name: table for table in CLEANSED}
    table = tables.get(re.sub(r"^(quarantine|cleansed)[./]", "", name))
    if table is None:
        raise QuarantineError(f"there is no table {name!r} with a quarantine; the tables are {', '.join(tables)}")
    return table
