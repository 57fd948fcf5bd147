"""`lakehouse prune`: what older runs have left, and what went of it."""

import click
import dagster as dg

from orders_lakehouse.cli.formatting import console, grid
from orders_lakehouse.defs.maintenance import prune_everything
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.instance.home import prepare_instance
from orders_lakehouse.instance.pruning import shrink_files
from orders_lakehouse.settings import settings


@click.command("prune")
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would go.")
def command(dry_run: bool) -> None:
    """Remove what older runs have left: events, logs, ticks, artifacts of dbt.

    The newest LAKEHOUSE_KEEP_RUNS runs keep everything. Of older ones the newest event of each asset and date and the
    newest evaluation of each check stay, so that no date turns to missing. Others may run meanwhile; a job does the
    same every night.
    """
    prune(dry_run=dry_run)


def prune(*, dry_run: bool) -> None:
    """Remove what older runs have left, or only count it, with a line for each kind.

    Raises:
        LakeError: `checks/results` is not as this program expects, or its storage cannot be used.
        SharedHistoryError: The Dagster instance is not the lakehouse's alone.
        StorageUnavailableError: The storage does not answer.
    """
    if not (settings().dagster_home / "dagster.yaml").exists():
        click.echo(f"There is no history yet in {settings().dagster_home}.")
        return
    prepare_instance()
    with dg.DagsterInstance.get() as instance:
        done, results = prune_everything(instance, configured_lake(), dry_run=dry_run)
        given_back = 0 if dry_run else shrink_files(instance)
    table = grid()
    table.add_column("what", no_wrap=True)
    table.add_column("would go" if dry_run else "removed", justify="right", no_wrap=True)
    for what, number in (
        ("runs", done.runs),
        ("runs that stay for their newest events", done.trimmed),
        ("events", done.events),
        ("evaluations of checks", done.evaluations),
        ("rows of checks/results", results),
        ("ticks", done.ticks),
        ("files", done.files),
    ):
        table.add_row(what, f"{number:,}")
    table.add_row("MB", f"{done.bytes / 1e6:,.1f}")
    console().print(table)
    if done.oldest is None:
        click.echo(f"There are no runs older than the newest {settings().keep_runs:,} (LAKEHOUSE_KEEP_RUNS).")
    else:
        click.echo(f"Runs since {done.oldest:%Y-%m-%d %H:%M} UTC keep everything: the newest {settings().keep_runs:,}.")
    if given_back:
        click.echo(f"{given_back / 1e6:,.1f} MB of free room in SQLite files were given back.")
