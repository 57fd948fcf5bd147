"""`lakehouse maintain`: maintain the tables of the lake, and show the saved space."""

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
    help="Only the tables of one layer.",
)
def command(layer: str | None) -> None:
    """Maintain the tables: compact files, shorten logs, and remove old files. No row changes.

    Shows the space of each table before and after. Files of older versions stay for LAKEHOUSE_RETENTION_DAYS. Other
    programs may read and write meanwhile. A job for each layer does the same every night.
    """
    maintain(layer)


def maintain(layer: str | None) -> None:
    """Maintain the tables of a layer, or all tables, and print a line for each existing table.

    Raises:
        LakeError: A table does not fit this program, or its storage cannot be used.
        StorageUnavailableError: The storage does not answer.
    """
    lake = configured_lake()
    table = grid()
    table.add_column("table", no_wrap=True)
    for heading in ("files", "MB", "MB with old ones", "log entries"):
        table.add_column(heading, justify="right", no_wrap=True)
    left = 0
    for lake_table in TABLES:
        if layer not in (None, lake_table.layer):
            continue
        outcome = maintain_table(lake, lake_table, settings().retention_days)
        if outcome is None:
            continue
        before, after = outcome.before, outcome.after
        table.add_row(
            lake_table.path,
            _change(before.files, after.files),
            _change(_megabytes(before.bytes), _megabytes(after.bytes)),
            _change(_megabytes(before.bytes_in_all), _megabytes(after.bytes_in_all)),
            _change(before.log_entries, after.log_entries),
        )
        left += outcome.left
    if not table.row_count:
        click.echo(f"There is no table yet in {lake.url}.")
        return
    console().print(table)
    if left:
        click.echo(
            f"{left:,} partitions were left unchanged, because other writers were faster; the next run does them."
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f}"


def _change(before: int | str, after: int | str) -> str:
    return f"{after}" if before == after else f"{before} → {after}"
