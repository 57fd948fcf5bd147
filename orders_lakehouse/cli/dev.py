"""`lakehouse dev`: Dagster's UI and daemon, and the end of all their processes with this one."""

import os
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import psutil

from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.instance.home import prepare_instance
from orders_lakehouse.machine import environment
from orders_lakehouse.settings import PROJECT

# Seconds that processes get to end by themselves.
_ENDING_SECONDS = 3
# Seconds between two looks whether they have ended.
_LOOK_SECONDS = 0.05


@click.command("dev")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of the UI.")
def command(port: int) -> None:
    """Start Dagster's UI and daemon for this lakehouse."""
    prepare_instance()
    # Partitions of the UI begin where the lake does, and importing the definitions only reads the note of it.
    configured_lake()
    if find_spec("dagster_dg_cli") is None:
        raise click.ClickException("`dg` is not installed; install it with: pip install dagster-dg-cli")
    os.environ["VIRTUAL_ENV"] = sys.prefix
    programs = Path(sys.executable).parent
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ.get('PATH', '')}"
    arguments = [sys.executable, "-m", "orders_lakehouse.runtime.webserver", "dev", "--port", str(port)]
    # A terminal that closes and a service manager end this process like Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    # In a session of their own, the processes get no signal of the terminal, and end in the order below.
    process = psutil.Popen(arguments, cwd=PROJECT, env=environment.for_dagster(), start_new_session=True)
    try:
        status = process.wait()
    except KeyboardInterrupt:
        status = 130
    finally:
        _end_family(process)
    raise SystemExit(status)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _end_family(process: psutil.Popen) -> None:
    """End a process and all that it has started, because code servers outlive the UI that started them."""
    try:
        family = [*process.children(recursive=True), process]
    except psutil.NoSuchProcess:
        return
    for member in family:
        _signal(member, signal.SIGINT if member.pid == process.pid else signal.SIGTERM)
    until = time.monotonic() + _ENDING_SECONDS
    while any(map(_works, family)) and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
    for survivor in filter(_works, family):
        _signal(survivor, signal.SIGKILL)


def _works(member: psutil.Process) -> bool:
    """Return whether a process still works; one that has ended, and that nobody has asked for its status, does not."""
    try:
        return member.is_running() and member.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _signal(member: psutil.Process, number: int) -> None:
    try:
        member.send_signal(number)
    except psutil.NoSuchProcess:
        return
