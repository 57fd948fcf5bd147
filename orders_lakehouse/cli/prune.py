"""`lakehouse prune`: remove the history of older runs, and show how much was removed."""

import click
import dagster as dg

from orders_lakehouse.cli.formatting import console, grid
from orders_lakehouse.defs.maintenance import prune_everything
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.instance.home import prepare_instance
from orders_lakehouse.instance.pruning import shrink_files
from orders_lakehouse.settings import settings


@click.command("prune")
@click.option("--dry-run", is_flag=True, help="Change nothing; show what would be removed.")
def command(dry_run: bool) -> None:
    """Remove events, logs, ticks and dbt artifacts of older runs.

    The newest LAKEHOUSE_KEEP_RUNS runs keep everything. Older runs keep the newest event of each asset and date and the
    newest evaluation of each check, so that no date becomes missing. Runs may go on meanwhile. A job does the same
    every night.
    """
    prune(dry_run=dry_run)


def prune(*, dry_run: bool) -> None:
    """Remove the history of older runs, or only count it, and print a line for each kind.

    Raises:
        LakeError: `checks/results` does not fit this program, or its storage cannot be used.
        SharedHistoryError: Other projects share the Dagster instance.
        StorageUnavailableError: The storage does not answer.
    """
    if not (settings().dagster_home / "dagster.yaml").exists():
        click.echo(f"There is no history yet in {settings().dagster_home}.")
        return
    prepare_instance()
    with dg.DagsterInstance.get() as instance:
        pruned, results = prune_everything(instance, configured_lake(), dry_run=dry_run)
        given_back = 0 if dry_run else shrink_files(instance)
    table = grid()
    table.add_column("what", no_wrap=True)
    table.add_column("would go" if dry_run else "removed", justify="right", no_wrap=True)
    for what, number in (
        ("runs", pruned.runs),
        ("runs that stay for their newest events", pruned.trimmed),
        ("events", pruned.events),
        ("evaluations of checks", pruned.evaluations),
        ("rows of checks/results", results),
        ("ticks", pruned.ticks),
        ("files", pruned.files),
    ):
        table.add_row(what, f"{number:,}")
    table.add_row("MB", f"{pruned.bytes / 1e6:,.1f}")
    console().print(table)
    if pruned.oldest is None:
        click.echo(f"There are no runs older than the newest {settings().keep_runs:,} (LAKEHOUSE_KEEP_RUNS).")
    else:
        click.echo(
            f"Runs since {pruned.oldest:%Y-%m-%d %H:%M} UTC keep everything: the newest {settings().keep_runs:,}."
        )
    if given_back:
        click.echo(f"{given_back / 1e6:,.1f} MB of free space in SQLite files were given back.")
