"""`lakehouse find`: the tables, columns and rules whose name or description has a text."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import click
from rich.text import Text

from orders_lakehouse.cli.dictionary_entries import Entry, entries
from orders_lakehouse.cli.formatting import console, grid, program
from orders_lakehouse.errors import ExpectedError


class FindError(ExpectedError):
    """Nothing has the text."""


class Match(NamedTuple):
    """Something that has the text.

    Attributes:
        path: layer.table, or layer.table.column.
        says: Its description, or its rule.
    """

    path: str
    says: str


@click.command("find")
@click.argument("text")
def command(text: str) -> None:
    """Find TEXT in the names and descriptions of tables, columns and rules.

    Upper and lower case are the same. The command ends with status 1 if nothing has the text.
    """
    matches = list(find(text, entries()))
    if not matches:
        raise FindError(f"no table, column or rule has {text!r}; `{program()} dictionary` lists all tables")
    table = grid(dense=True)
    table.add_column("where", no_wrap=True)
    table.add_column("what it says")
    for match in matches:
        table.add_row(match.path, Text(match.says))
    console().print(table)


def find(text: str, known: Sequence[Entry]) -> Iterator[Match]:
    """Yield what has a text in its name or description, in the order of the layers.

    Args:
        text: The text; upper and lower case are the same.
        known: Entries of the dictionary.
    """
    wanted = text.casefold()

    def has_it(*texts: str) -> bool:
        return any(wanted in each.casefold() for each in texts)

    for entry in known:
        if has_it(entry.path, entry.description):
            yield Match(entry.path, entry.row)
        yield from (Match(entry.path, rule) for name, rule in entry.rules.items() if has_it(name, rule))
        for column in entry.columns:
            rules = [rule for name, rule in column.rules.items() if has_it(name, rule)]
            if has_it(column.name, column.description) or rules:
                yield Match(f"{entry.path}.{column.name}", "; ".join([column.description, *rules]))
