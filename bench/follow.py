"""Measure the time of a change from the shop to the tested fact, while the daemon's sensors follow."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import dagster as dg
import psutil
from adbc_driver_postgresql import dbapi

from orders_lakehouse.errors import ExpectedError

_LAKEHOUSE = str(Path(sys.executable).with_name("lakehouse"))
# Seconds after which the daemon counts as not following.
_TOO_LONG = 600
_CHANGE = """
    UPDATE shop.order_items SET quantity = quantity + 1, updated_at = (
        SELECT max(updated_at) + interval '1 second' FROM shop.order_items WHERE updated_at < now()
    )
    WHERE (order_id, line_number) = (
        SELECT order_id, line_number FROM shop.order_items
        INNER JOIN shop.orders USING (order_id)
        WHERE quantity > 0 AND ordered_at < (SELECT max(ordered_at) FROM shop.orders) - interval '{days} days'
        ORDER BY ordered_at DESC, order_id, line_number LIMIT 1
    )
    RETURNING order_id, line_number, quantity
"""


class FollowError(ExpectedError):
    """The daemon does not follow."""


def follow(environment: Mapping[str, str], changes: int) -> list[float]:
    """Change an order line in the shop, wait for its tested fact, and again.

    Args:
        environment: Environment of a lakehouse that has been built.
        changes: Number of changes; one more comes first, while the daemon starts.

    Returns:
        Seconds from the commit in the shop to the end of the run that tested the fact.

    Raises:
        FollowError: A change took more than ten minutes.
    """
    with running_daemon(environment) as instance:
        return [_followed(environment, instance, days=30 + number) for number in range(changes + 1)][1:]


def _followed(environment: Mapping[str, str], instance: dg.DagsterInstance, days: int) -> float:
    with dbapi.connect(environment["SHOP_DATABASE_URL"]) as connection, connection.cursor() as cursor:
        cursor.execute(_CHANGE.format(days=days))
        order_id, line_number, quantity = cursor.fetchone()
        connection.commit()
    began = time.monotonic()
    fact = f"SELECT quantity FROM marts.fct_order_lines WHERE (order_id, line_number) = ('{order_id}', {line_number})"
    while time.monotonic() - began < _TOO_LONG:
        time.sleep(0.2)
        with dbapi.connect(environment["WAREHOUSE_DATABASE_URL"]) as connection, connection.cursor() as cursor:
            cursor.execute(fact)
            stored = cursor.fetchone()
        if stored == (quantity,) and not instance.get_runs_count(UNFINISHED):
            return time.monotonic() - began
    raise FollowError(f"line {line_number} of order {order_id} did not reach the facts in {_TOO_LONG} s")


UNFINISHED = dg.RunsFilter(
    statuses=[dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
)


@contextmanager
def running_daemon(environment: Mapping[str, str]) -> Iterator[dg.DagsterInstance]:
    """Start the processes of `make dev`, with running sensors, and stop them at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (Path(environment["LAKEHOUSE_HOME"]) / "dev.txt").open("w") as log:
        process = subprocess.Popen(  # noqa: S603 (our own command)
            [_LAKEHOUSE, "dev", "--port", str(port)],
            env={**environment, "LAKEHOUSE_SENSORS": "running"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    home = {"DAGSTER_HOME": environment["DAGSTER_HOME"]}
    try:
        with patch.dict(os.environ, home), dg.DagsterInstance.get() as instance:
            yield instance
    finally:
        _stop(process)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(signal.SIGINT)
    _, alive = psutil.wait_procs(family, timeout=20)
    for member in alive:
        with suppress(psutil.NoSuchProcess):
            member.kill()
