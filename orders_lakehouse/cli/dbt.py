"""`lakehouse dbt`: dbt's own command, with the project and the warehouse of this lakehouse."""

import os

import click

from orders_lakehouse.machine import environment
from orders_lakehouse.settings import DBT_PROJECT, settings


@click.command("dbt", context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Run dbt on the warehouse in force: `lakehouse dbt show --select dim_date`.

    dbt gets the project, the connection and the variables of a run, and its own folder for artifacts. It ends with
    dbt's status. Facts are built for all dates unless DBT_FROM_DATE and DBT_TO_DATE are set.
    """
    from orders_lakehouse.defs.resources import warehouse_for_dbt
    from orders_lakehouse.runtime.dbt_server import COMMAND

    folder = os.fspath(settings().home / "dbt-by-hand")
    dates = {name: os.environ[name] for name in ("DBT_FROM_DATE", "DBT_TO_DATE") if name in os.environ}
    variables = {
        **environment.for_dbt(os.environ),
        **warehouse_for_dbt(),
        **dates,
        "DBT_PROJECT_DIR": os.fspath(DBT_PROJECT),
        "DBT_PROFILES_DIR": os.fspath(DBT_PROJECT),
        "DBT_TARGET_PATH": folder,
        "DBT_LOG_PATH": folder,
    }
    os.execve(COMMAND[0], [*COMMAND, *arguments], variables)  # noqa: S606 (our own module)
