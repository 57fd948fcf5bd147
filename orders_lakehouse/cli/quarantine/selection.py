"""Which rows in quarantine are meant: the options that say so, and the tables and reasons that they name."""

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

# Members of dimensions belong to the job that captures, by the date of their capture.
CAPTURED = DIMENSIONS


class QuarantineError(ExpectedError):
    """What is asked of the quarantine is not there."""


def selection_options(command: Callable[..., None]) -> Callable[..., None]:
    """Options that say which rows in quarantine are meant: `table`, `reason` and `day`."""
    options = [
        click.option("--table", metavar="T", help="Of one table, such as order_items."),
        click.option("--reason", metavar="R", help="With one reason, such as quantity_not_positive."),
        click.option("--date", "day", type=DATE, metavar="D", help="That would count at one date."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


unmasked_option = click.option("--unmasked", is_flag=True, help="Personal values as they are.")


def choose(table: str | None, reason: str | None, day: date | None) -> Chosen:
    """Which rows are meant.

    Args:
        table: Name of a table, with or without its layer.
        reason: Name of a reason.
        day: Date at which the rows would count.

    Raises:
        QuarantineError: There is no such table or reason.
    """
    tables = CLEANSED if table is None else (table_named(table),)
    known = {rule.reason for each in tables for rule in rules_of(each.model)}
    if reason is not None and reason not in known:
        raise QuarantineError(f"there is no reason {reason!r}; the reasons are {', '.join(sorted(known))}")
    return Chosen(tables, reason, day)


def table_named(name: str) -> Table:
    """The cleansed table that a name means, with or without its layer.

    Raises:
        QuarantineError: There is no such table.
    """
    tables = {table.name: table for table in CLEANSED}
    table = tables.get(re.sub(r"^(quarantine|cleansed)[./]", "", name))
    if table is None:
        raise QuarantineError(f"there is no table {name!r} with a quarantine; the tables are {', '.join(tables)}")
    return table
