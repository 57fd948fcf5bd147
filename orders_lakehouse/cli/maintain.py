"""`lakehouse maintain`: care for the tables of the lake, and what it saved."""

import click

from orders_lakehouse.cli.formatting import console, grid
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.delta.maintenance import maintain_table
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import TABLES


@click.command("maintain")
@click.option(
    "--layer",
    type=click.Choice(["raw", "cleansed", "quarantine", "curated", "checks"]),
    help="The tables of one layer alone.",
)
def command(layer: str | None) -> None:
    """Care for the tables: few files, a short log, and no file that is not needed. No row changes.

    Shows what each table takes, before and after. Files of older versions stay for LAKEHOUSE_RETENTION_DAYS. Others may
    read and write meanwhile; a job for each layer does the same every night.
    """
    maintain(layer)


def maintain(layer: str | None) -> None:
    """Care for the tables of a layer, or of all, with a line for each that there is.

    Raises:
        LakeError: A table is not as this program expects, or its storage cannot be used.
        StorageUnavailableError: The storage does not answer.
    """
    lake = configured_lake()
    table = grid()
    table.add_column("table", no_wrap=True)
    for heading in ("files", "MB", "MB with old ones", "log entries"):
        table.add_column(heading, justify="right", no_wrap=True)
    left = 0
    for one in TABLES:
        done = maintain_table(lake, one, settings().retention_days) if layer in (None, one.layer) else None
        if done is None:
            continue
        before, after = done.before, done.after
        table.add_row(
            one.path,
            _change(before.files, after.files),
            _change(_megabytes(before.bytes), _megabytes(after.bytes)),
            _change(_megabytes(before.bytes_in_all), _megabytes(after.bytes_in_all)),
            _change(before.log_entries, after.log_entries),
        )
        left += done.left
    if not table.row_count:
        click.echo(f"There is no table yet in {lake.url}.")
        return
    console().print(table)
    if left:
        click.echo(f"{left:,} partitions were left as they are: other writers were faster. The next time does them.")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}"


def _change(before: int | str, after: int | str) -> str:
    return f"{after}" if before == after else f"{before} → {after}"
