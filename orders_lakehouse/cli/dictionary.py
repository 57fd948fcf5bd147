"""`lakehouse dictionary`: describe tables and columns on the terminal, or write the pages of docs/dictionary."""

from collections.abc import Sequence

import click
from rich.text import Text

from orders_lakehouse.cli.dictionary_entries import DictionaryError, Entry, declared, entries, keys_in_words
from orders_lakehouse.cli.dictionary_pages import pages
from orders_lakehouse.cli.formatting import console, grid
from orders_lakehouse.settings import PROJECT

PAGES = PROJECT / "docs" / "dictionary"


@click.command("dictionary")
@click.argument("table", required=False)
@click.option("--write", is_flag=True, help="Write docs/dictionary instead.")
def command(table: str | None, write: bool) -> None:
    """Describe what each table holds; with TABLE, describe its columns.

    TABLE is a name such as cleansed.orders or marts.dim_date. docs/dictionary also says where columns come from and
    where they go.
    """
    write_pages() if write else show(table)


def show(name: str | None) -> None:
    """Print every table and what it holds; for one table, its columns.

    Args:
        name: The table, such as cleansed.orders or marts.dim_date; None for all.

    Raises:
        DictionaryError: The table does not exist.
    """
    all_entries = entries()
    table = grid(dense=True)
    if name is None:
        for heading in ("table", "what it holds"):
            table.add_column(heading, no_wrap=heading == "table")
        for entry in all_entries:
            table.add_row(entry.path, Text(entry.row))
    else:
        matches = [entry for entry in all_entries if entry.path == name.replace("/", ".")]
        (entry,) = matches or _unknown(name, all_entries)
        console().print(Text(f"{entry.path}: {entry.description}\n"))
        for fact in (f"Key: {keys_in_words(entry)}", *declared(entry, lambda path: path)):
            console().print(Text(f"{fact}".replace("`", "")))
        console().print()
        for heading in ("column", "type", "what it says"):
            table.add_column(heading, no_wrap=heading == "column")
        for column in entry.columns:
            kind = column.type if column.nullable else f"{column.type}, not null"
            demanded = [demand for demand in column.rules.values() if demand != "present"]
            unit = [f"in {column.unit}"] if column.unit else []
            personal = ["personal"] if column.personal else []
            table.add_row(column.name, Text(kind), Text("; ".join([column.description, *unit, *demanded, *personal])))
    console().print(table)


def _unknown(name: str, known: Sequence[Entry]) -> list[Entry]:
    raise DictionaryError(f"there is no table {name!r}; expected one of {', '.join(entry.path for entry in known)}")


def write_pages() -> None:
    """Write docs/dictionary, and remove pages that no longer exist."""
    PAGES.mkdir(exist_ok=True)
    written = pages()
    for path in PAGES.glob("*.md"):
        if path.name not in written:
            path.unlink()
    for name, text in written.items():
        (PAGES / name).write_text(text)
    click.echo(f"Wrote {len(written)} pages in {PAGES.relative_to(PROJECT)}.")
