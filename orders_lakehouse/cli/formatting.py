"""Output for the terminal: JSON for programs, and tables that fit 80 columns, with colours if wanted."""

import json
import os
import shutil
import sys
from datetime import date
from pathlib import Path
from typing import Any

import click
import polars as pl
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from orders_lakehouse.cli.plain_text import safe as safe

_WIDTH = 80
_WIDEST_CELL = 32
_GAP = 2
# Most rows that are shown as records with all columns, if they are too wide for a table.
_FEW_ROWS = 3
_NULL = "null"


def console() -> Console:
    """Return the terminal, with at least 80 columns."""
    return Console(width=max(_WIDTH, Console().width), highlight=False)


def program() -> str:
    """Return how to call this command again from the current folder: by its name or its relative path."""
    called = Path(sys.argv[0]).absolute()
    on_path = shutil.which(called.name)
    if on_path and Path(on_path).absolute() == called:
        return called.name
    relative = os.path.relpath(called)
    return str(called) if relative.startswith("..") else relative


def grid(*, dense: bool = False) -> Grid:
    """Return an empty table with a line below its headings; a dense one has one space between columns, not two."""
    return Grid(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 0 if dense else 1),
        pad_edge=False,
        collapse_padding=True,
    )


def indented(text: str, columns: int) -> Padding:
    """Indent all lines of a text by some columns, including wrapped lines."""
    return Padding(Text(text), (0, 0, 0, columns), expand=False)


def show_json(value: Any) -> None:
    """Print a value as JSON: dates and instants in ISO 8601, other types that JSON lacks as text."""
    click.echo(json.dumps(value, default=_plain, indent=2))


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def show_rows(rows: pl.DataFrame) -> None:
    """Print rows as a table.

    If the table is too wide, a few rows are shown as records. Otherwise long texts are cut, and only the columns that
    fit are shown, with the names of the others.
    """
    terminal = console()
    cells = {name: _texts(rows[name]) for name in rows.columns}
    widths = {name: max([cell_len(name), *(cell_len(text or _NULL) for text in cells[name])]) for name in rows.columns}
    if rows.height and _needed(list(widths.values())) > terminal.width:
        if rows.height <= _FEW_ROWS:
            return _show_records(terminal, cells)
        widths = {name: min(width, max(_WIDEST_CELL, cell_len(name))) for name, width in widths.items()}
    fitting = _how_many_fit(list(widths.values()), terminal.width)
    table = grid()
    for name in rows.columns[:fitting]:
        numeric = rows.schema[name].is_numeric()
        table.add_column(Text(safe(name)), justify="right" if numeric else "left", no_wrap=True, max_width=widths[name])
    for row in zip(*(cells[name] for name in rows.columns[:fitting]), strict=True):
        table.add_row(*(_cell(text) for text in row))
    terminal.print(table)
    left_out = rows.columns[fitting:]
    if left_out:
        terminal.print(f"and {len(left_out)} more columns: {', '.join(map(safe, left_out))}", style="dim", markup=False)


def _show_records(terminal: Console, cells: dict[str, list[str | None]]) -> None:
    for number, row in enumerate(zip(*cells.values(), strict=True), start=1):
        table = Grid(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, text in zip(cells, row, strict=True):
            table.add_row(Text(safe(name)), _cell(text))
        terminal.print(f"row {number}", style="dim")
        terminal.print(table)


def _needed(widths: list[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _how_many_fit(widths: list[int], width: int) -> int:
    fitting = [count for count in range(1, len(widths) + 1) if _needed(widths[:count]) <= width]
    return max(fitting, default=min(1, len(widths)))


def _texts(values: pl.Series) -> list[str | None]:
    if values.dtype.is_nested() or values.dtype in (pl.Binary, pl.Object):
        return [None if value is None else safe(str(value)) for value in values.to_list()]
    if isinstance(values.dtype, pl.Datetime):
        # Delta stores instants in UTC.
        values = values.dt.to_string("%Y-%m-%d %H:%M:%S%.f" + ("Z" if values.dtype.time_zone else ""))
    return [None if text is None else safe(text) for text in values.cast(pl.String)]


def _cell(text: str | None) -> Text:
    return Text(_NULL, style="dim italic") if text is None else Text(text)
