"""`lakehouse dev`: Dagster's UI and daemon, which replace this process."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from orders_lakehouse.instance.home import prepare_instance
from orders_lakehouse.machine import environment
from orders_lakehouse.settings import PROJECT


@click.command("dev")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of the UI.")
def command(port: int) -> None:
    """Start Dagster's UI and daemon for this lakehouse."""
    prepare_instance()
    if find_spec("dagster_dg_cli") is None:
        raise click.ClickException("`dg` is not installed; install it with: pip install dagster-dg-cli")
    os.chdir(PROJECT)
    os.environ["VIRTUAL_ENV"] = sys.prefix
    programs = Path(sys.executable).parent
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"
    arguments = [sys.executable, "-m", "orders_lakehouse.runtime.webserver", "dev", "--port", str(port)]
    os.execve(sys.executable, arguments, environment.for_dagster())  # noqa: S606 (our own environment's program)
