"""The way of the UI: a range launched over the webserver's GraphQL, executed by the daemon."""

import contextlib
import http.client
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
from pathlib import Path
from typing import Any

import psutil
import pytest
from adbc_driver_postgresql import dbapi

from orders_lakehouse.sample_shop.edge_cases import edge_cases
from orders_lakehouse.settings import PROJECT
from tests.support.lakehouse import SHOP_SCHEMA

DATES = ["2017-01-01", "2017-01-02", "2017-01-03"]

LAUNCH = """
mutation ($backfillParams: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfillParams) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
BACKFILL = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    ... on PartitionBackfill { status runs(limit: 20) { status tags { key value } } }
  }
}
"""
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


@pytest.fixture
def webserver(tmp_path: Path, postgres_url_factory: Callable[[str], str]) -> Iterator[Webserver]:
    shop, warehouse = postgres_url_factory("ui_shop"), postgres_url_factory("ui_warehouse")
    with dbapi.connect(shop) as connection, connection.cursor() as cursor:
        cursor.executescript(SHOP_SCHEMA + edge_cases())
        connection.commit()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "LAKEHOUSE_HOME": str(tmp_path),
        "SHOP_DATABASE_URL": shop,
        "WAREHOUSE_DATABASE_URL": warehouse,
        "LAKEHOUSE_SENSORS": "stopped",
    }
    log = (tmp_path / "dev.log").open("w")
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("lakehouse")), "dev", "--port", str(port)],
        cwd=PROJECT,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        server = Webserver(port, process.pid)
        _wait(180, lambda: _answers(server), lambda: (tmp_path / "dev.log").read_text())
        yield server
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        _end_group(process.pid)
        log.close()


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


def _wait(seconds: float, done: Callable[[], bool], explain: Callable[[], str]) -> None:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            pytest.fail(f"not done after {seconds} s: {explain()}")
        time.sleep(1)


@pytest.mark.slow
@pytest.mark.long
def test_range_launched_for_any_selection_is_one_run(webserver: Webserver) -> None:
    nodes = webserver.ask(ASSETS)["assetNodes"]
    everything = [node["assetKey"] for node in nodes if node["isMaterializable"]]
    marts = [node["assetKey"] for node in nodes if node["groupName"] == "marts"]
    assert (len(everything), len(marts)) == (28, 9)
    for selected in (everything, marts):
        launched = webserver.ask(
            LAUNCH, backfillParams={"assetSelection": selected, "partitionNames": DATES, "fromFailure": False}
        )["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched

        def backfill(backfill_id: str = launched["backfillId"]) -> Any:
            return webserver.ask(BACKFILL, id=backfill_id)["partitionBackfillOrError"]

        _wait(240, lambda: backfill()["status"] not in ("REQUESTED", "COMPLETING"), lambda: str(backfill()))
        done = backfill()
        assert done["status"] == "COMPLETED_SUCCESS", done
        (run,) = done["runs"]
        assert run["status"] == "SUCCESS"
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        assert tags["dates"] == f"{DATES[0]} to {DATES[-1]}"
        assert tags["trigger"] == "backfill in the UI"
    for key in everything:
        statuses = webserver.ask(MATERIALIZED, key=key)["assetNodeOrError"]["assetPartitionStatuses"]
        assert statuses["ranges"] == [{"status": "MATERIALIZED", "startKey": DATES[0], "endKey": DATES[-1]}], key


@pytest.mark.slow
@pytest.mark.long
def test_every_process_ends_soon_after_a_request_to_end(webserver: Webserver) -> None:
    dev = psutil.Process(webserver.pid)
    family = [dev, *dev.children(recursive=True)]
    # The command, Dagster's UI and daemon, and their code servers.
    assert len(family) >= 5
    dev.terminate()
    time.sleep(5)
    # A process that has ended may wait for its parent to ask for its status.
    working = [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]
    assert working == []


@pytest.mark.slow
@pytest.mark.long
def test_ui_answers_to_local_names_and_keeps_its_files_private(webserver: Webserver, tmp_path: Path) -> None:
    body = json.dumps({"query": "{ version }"})

    def status(**headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", webserver.port, timeout=30)
        connection.request("POST", "/graphql", body, {"Content-Type": "application/json", **headers})
        return connection.getresponse().status

    for name in ("localhost", "127.0.0.1", "[::1]"):
        assert status(Host=f"{name}:{webserver.port}") == 200
    assert status(Host=f"shop.example:{webserver.port}") == 400
    assert status(Origin="http://shop.example") == 400
    # `dev.log` is the test's own.
    readable = [path for path in tmp_path.rglob("*") if path.name != "dev.log" and path.stat().st_mode & 0o077]
    assert readable == []
