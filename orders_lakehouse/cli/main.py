"""The `lakehouse` command: its table of commands, and the exit after a failure.

Each command is a module of this package with the command's name, and a line of the table. The module holds the click
declaration, named `command`, and the implementation. It is imported when the command is called, because importing
Dagster takes longer than most commands.
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
    "checks": "Show the results of checks, by date.",
    "config": "Print the current settings; for a database, its host, name and user.",
    "contracts": "Compare the contracts with the published ones, and with the tables that read them.",
    "dbt": "Run dbt on the warehouse in force: `lakehouse dbt show --select dim_date`.",
    "demo": "Load the sample shop, build everything, and show the result.",
    "dev": "Start Dagster's UI and daemon for this lakehouse.",
    "dictionary": "Describe what each table holds; with TABLE, describe its columns.",
    "doctor": "Find problems, and name the command that repairs each.",
    "find": "Find TEXT in the names and descriptions of tables, columns and rules.",
    "maintain": "Maintain the tables: compact files, shorten logs, and remove old files.",
    "migrate": "Migrate the tables of a lake that an older version made to the present contracts, once.",
    "prune": "Remove events, logs, ticks and dbt artifacts of older runs.",
    "psql": "Open psql in the shop or the warehouse; no command line shows the password.",
    "quarantine": "Rows that break a rule: what is wrong with them, where they come from, and how they leave.",
    "read": "Show rows of TABLE, at its latest or an earlier version.",
    "rebuild-key-dates": "Write the entries that raw/key_dates lacks, from raw.",
    "recapture": "Capture a date of a raw table again from the shop, if one of its files is damaged.",
    "reconcile": "Compare every row of the shop with raw, and show the differences.",
    "register": "Register the tables of a lake on S3 in AWS Glue, for Athena, Spark on EMR and Trino.",
    "reset": "Start TABLE over, or all tables: remove what was derived, and show how to build it again.",
    "shop": "The embedded shop.",
    "sql": "Query the Delta tables by their names, with the SQL of Polars.",
    "status": "Show what each table holds, how fresh it is, and its checks.",
    "stop": "Stop the embedded Postgres server.",
    "url": "Print the current URL; an embedded server is started.",
}

# Commands under each heading of the help.
_SECTIONS = {
    "Begin": ("demo", "dev", "shop", "config", "url", "psql", "stop"),
    "Run and watch": ("backfill", "status", "checks", "doctor"),
    "Look at rows": ("read", "sql", "find", "dictionary", "dbt", "quarantine"),
    "Repair": ("reconcile", "recapture", "rebuild-key-dates", "reset"),
    "Keep": ("maintain", "prune", "migrate", "calendar", "contracts", "register"),
}


@click.group(
    cls=LazyGroup,
    package=__package__,
    table=_COMMANDS,
    sections=_SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="orders-lakehouse", message="%(prog)s %(version)s")
def cli() -> None:
    """The orders lakehouse: from a shop's Postgres to a tested star schema."""


def main() -> None:
    """Run the command; expected failures end with their message and status 1."""
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
        # Such errors come from the environment: a folder that is a file, a name that is too long, a full disk.
        _end(f"{os.fsdecode(error.filename)}: {error.strerror}")


def _end(message: str) -> NoReturn:
    color = False if os.environ.get("NO_COLOR") else None
    click.secho(f"Error: {safe_lines(message)}", fg="red", err=True, color=color)
    raise SystemExit(1) from None
