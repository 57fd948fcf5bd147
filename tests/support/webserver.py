"""Dagster's webserver and daemon on a lakehouse of their own, started as `make dev` starts them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orders_lakehouse.settings import PROJECT

ASSETS = "{ assetNodes { assetKey { path } groupName isMaterializable } }"
MATERIALIZED = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) {
    ... on AssetNode {
      assetPartitionStatuses {
        ... on TimePartitionStatuses { ranges { status startKey endKey } }
      }
    }
  }
}
"""


class Webserver:
    """A webserver and a daemon on a lakehouse of their own."""

    def __init__(self, port: int, pid: int) -> None:
        self.port, self.pid = port, pid
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(  # noqa: S310 (our own server)
            f"{self.url}/graphql", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            found = json.load(answer)
        assert "errors" not in found, found
        return found["data"]


@contextmanager
def webserver_on(home: Path, shop: str, warehouse: str, **environment: str) -> Iterator[Webserver]:
    """Start the UI and the daemon, wait until the UI answers, and end them and all of their processes.

    Args:
        home: Folder of the lakehouse; `dev.log` in it has the output.
        shop: URL of the shop's database.
        warehouse: URL of the warehouse's database.
        environment: Further variables.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"LAKEHOUSE_HOME": str(home), "SHOP_DATABASE_URL": shop, "WAREHOUSE_DATABASE_URL": warehouse}
    log_file = home / "dev.log"
    with log_file.open("w") as log:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("lakehouse")), "dev", "--port", str(port)],
            cwd=PROJECT,
            env={**os.environ, "LAKEHOUSE_SENSORS": "stopped", **own, **environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            server = Webserver(port, process.pid)
            wait(180, lambda: _answers(server), log_file.read_text)
            yield server
        finally:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            _end_group(process.pid)


def materialized_spans(server: Webserver, key: Any) -> list[str]:
    """Return the materialized dates of an asset as spans; other dates of a run have their status, too."""
    statuses = server.ask(MATERIALIZED, key=key)["assetNodeOrError"]["assetPartitionStatuses"]
    return [
        f"{span['startKey']} to {span['endKey']}" + ("" if span["status"] == "MATERIALIZED" else f" ({span['status']})")
        for span in statuses["ranges"]
    ]


def wait(seconds: float, done: Callable[[], bool], explain: Callable[[], str]) -> None:
    """Wait until something is done; fail the test with an explanation if it is not in time."""
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            pytest.fail(f"not done after {seconds} s: {explain()}")
        time.sleep(1)


def _answers(server: Webserver) -> bool:
    try:
        return len(server.ask(ASSETS)["assetNodes"]) > 0
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _end_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
