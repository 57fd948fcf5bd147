"""The `lakehouse` command: its table of commands, and how a failure ends.

A command is a module of this package with the command's name, and a line of the table. The module holds the click
declaration, named `command`, and what the command does. It is imported when the command is called, because Dagster
takes longer to import than most commands take to answer.
"""

import os
from typing import NoReturn

import click

from orders_lakehouse.cli.lazy_group import LazyGroup
from orders_lakehouse.cli.plain_text import accept_every_character, safe_lines
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.machine.private_files import keep_private
from orders_lakehouse.runtime.blocked_imports import collect_garbage_rarely
from orders_lakehouse.settings import SettingsError

# Name of each command to the first sentence of its help.
_COMMANDS = {
    "backfill": "Run everything for the dates from FIRST to LAST.",
    "calendar": "Show the calendar of the lake: midnights and holidays, and what newer data would change.",
    "checks": "Show what checks found, by date.",
    "config": "Print the settings in force; of a database, where it is.",
    "contracts": "Compare the contracts with those that were published, and with what reads them.",
    "demo": "Load the sample shop, build everything, show what came of it.",
    "dev": "Start Dagster's UI and daemon for this lakehouse.",
    "dictionary": "Say what each table holds; with TABLE, what its columns say.",
    "doctor": "Look for what is wrong, and say which command mends it.",
    "maintain": "Care for the tables: few files, a short log, and no file that is not needed.",
    "migrate": "Bring the tables of a lake that an older version made up to the present contracts, once.",
    "prune": "Remove what older runs have left: events, logs, ticks, artifacts of dbt.",
    "psql": "Open psql in the database in force; its password stands on no command line.",
    "quarantine": "Rows that break a rule: what is wrong with them, where they come from, and how they leave.",
    "read": "Show rows of TABLE, as they are or as they were.",
    "rebuild-key-dates": "Write the entries that raw/key_dates lacks, from raw.",
    "recapture": "Take a capture date of a raw table again from the shop, when a file of it is damaged.",
    "reconcile": "Compare every row of the shop with raw, and say which differ.",
    "register": "Register the tables of a lake on S3 in AWS Glue, for Athena, Spark on EMR and Trino.",
    "reset": "Start TABLE over, or all of them: remove what was derived, and say how to build it again.",
    "shop": "The embedded shop.",
    "sql": "Ask the Delta tables by their names, with the SQL of Polars.",
    "status": "Show what each table holds, how fresh it is, and its checks.",
    "stop": "Stop the embedded Postgres server.",
    "url": "Print the URL in force; an embedded server is started.",
}


@click.group(cls=LazyGroup, package=__package__, table=_COMMANDS)
def cli() -> None:
    """The orders lakehouse: from a shop's Postgres to a tested star schema."""


def main() -> None:
    """Entry point; expected failures end with their message and status 1."""
    collect_garbage_rarely()
    keep_private()
    accept_every_character()
    try:
        cli(standalone_mode=True)
    except (ExpectedError, SettingsError) as error:
        _end(str(error))
    except OSError as error:
        if error.filename is None:
            raise
        # A folder that is a file, a name that is too long, a disk that is full: the environment's, not the code's.
        _end(f"{os.fsdecode(error.filename)}: {error.strerror}")


def _end(message: str) -> NoReturn:
    color = False if os.environ.get("NO_COLOR") else None
    click.secho(f"Error: {safe_lines(message)}", fg="red", err=True, color=color)
    raise SystemExit(1) from None
