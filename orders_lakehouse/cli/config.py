"""`lakehouse config`: the current settings, and the page of the docs that describes them."""

from pathlib import Path
from typing import get_args

import click
from pydantic.fields import FieldInfo
from rich.text import Text

from orders_lakehouse.cli.formatting import console, grid
from orders_lakehouse.postgres.connections import without_password
from orders_lakehouse.postgres.server_folders import data_elsewhere
from orders_lakehouse.settings import PROJECT, Settings, settings

_PAGE = """\
# Configuration

Variables of the environment configure everything. A file `.env` in the project counts as environment; a variable that
is set takes precedence over it. An invalid value, or an unknown `LAKEHOUSE_` name, is an error. `lakehouse config`
prints the current values.

{table}

The lakehouse also reads standard variables of other programs. `AWS_*` ([S3](s3.md)) can be in `.env`, too. Only the
environment itself can have `DAGSTER_HOME` (Dagster's files; default: `dagster/` under `LAKEHOUSE_HOME`) and the
variables of Postgres' own library.

A database URL may have every parameter of that library (`sslmode`, `sslrootcert`, `sslcert`, `options`, several hosts,
a `service`, ...). Missing parameters come from `PGSSLMODE`, `PGPASSWORD`, `PGSERVICE`, `~/.pgpass` and the like. The
reader of the shop, the loader and dbt connect with the same parameters. The embedded server uses none of them. dbt's
own `DBT_*` variables have no effect on a run.

Settings of Dagster alone (run queue, pools, retention, location of logs) are in `dagster.yaml` in its home.

<!-- Written by `make docs` from orders_lakehouse/settings.py. -->
"""


@click.command("config")
@click.option("--write-docs", is_flag=True, help="Write docs/configuration.md instead.")
def command(write_docs: bool) -> None:
    """Print the current settings; for a database, its host, name and user."""
    write_page() if write_docs else show()


def show() -> None:
    """Print each setting and its value; for a database, its host, name and user."""
    in_force = settings()
    table = grid(dense=True)
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    for name, field in Settings.model_fields.items():
        value = getattr(in_force, name)
        if name == "start_date_given" and value is None:
            cell = Text(f"{in_force.start_date} (of the lake)", style="dim")
        elif value is None:
            cell = Text(f"{_default(field).replace('`', '')} (default)", style="dim")
        elif name in in_force.model_fields_set:
            cell = Text(_in_force(in_force, name))
        else:
            cell = Text(f"{value} (default)", style="dim")
        table.add_row(str(field.validation_alias), cell)
    console().print(table)
    outside = data_elsewhere(in_force.home)
    if outside is not None:
        click.echo(f"\nThe embedded Postgres is in {outside}, because its user cannot enter LAKEHOUSE_HOME.")


def _in_force(current: Settings, name: str) -> str:
    """Return the value of a setting, without its secrets."""
    if name == "spark_remote":
        return current.spark_endpoint
    value = getattr(current, name)
    return str(value) if Settings.model_fields[name].repr else without_password(value)


def page() -> str:
    """Return the text of docs/configuration.md."""
    heading = ["| variable | meaning | default |", "| --- | --- | --- |"]
    rows = [
        f"| `{field.validation_alias}` | {_meaning(field)} | {_default(field)} |"
        for field in Settings.model_fields.values()
    ]
    return _PAGE.format(table="\n".join([*heading, *rows]))


def write_page() -> None:
    """Write docs/configuration.md."""
    path = PROJECT / "docs" / "configuration.md"
    path.write_text(page())
    click.echo(f"Wrote {path.relative_to(PROJECT)}.")


def _meaning(field: FieldInfo) -> str:
    meaning = str(field.description).partition(" Default: ")[0]
    options = [value for part in (field.annotation, *get_args(field.annotation)) for value in get_args(part)]
    named = [f"`{value}`" for value in options if isinstance(value, str)]
    return f"{meaning} One of {', '.join(named)}." if len(named) > 1 else meaning


def _default(field: FieldInfo) -> str:
    """Return the default value; if it depends on something else, the text of the description."""
    if field.default is None:
        return str(field.description).partition(" Default: ")[2].rstrip(".")
    if isinstance(field.default, Path):
        folder = "" if field.default.suffix else "/"
        return f"`{field.default.relative_to(PROJECT)}{folder}` in the project"
    return f"`{field.default}`"
