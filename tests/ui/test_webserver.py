"""The way of the UI: a range launched over the webserver's GraphQL, executed by the daemon."""

import http.client
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from adbc_driver_postgresql import dbapi

from orders_lakehouse.sample_shop.edge_cases import edge_cases
from tests.support.lakehouse import SHOP_SCHEMA
from tests.support.webserver import ASSETS, Webserver, materialized_spans, wait, webserver_on

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


@pytest.fixture
def webserver(tmp_path: Path, postgres_url_factory: Callable[[str], str]) -> Iterator[Webserver]:
    shop, warehouse = postgres_url_factory("ui_shop"), postgres_url_factory("ui_warehouse")
    with dbapi.connect(shop) as connection, connection.cursor() as cursor:
        cursor.executescript(SHOP_SCHEMA + edge_cases())
        connection.commit()
    with webserver_on(tmp_path, shop, warehouse) as server:
        yield server


# The tests of pages launch ranges in the browser; this one needs no browser.
@pytest.mark.slow
@pytest.mark.thorough
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

        wait(240, lambda: backfill()["status"] not in ("REQUESTED", "COMPLETING"), lambda: str(backfill()))
        done = backfill()
        assert done["status"] == "COMPLETED_SUCCESS", done
        (run,) = done["runs"]
        assert run["status"] == "SUCCESS"
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        assert tags["dates"] == f"{DATES[0]} to {DATES[-1]}"
        assert tags["trigger"] == "backfill in the UI"
    for key in everything:
        assert materialized_spans(webserver, key) == [f"{DATES[0]} to {DATES[-1]}"], key


# It measures seconds, and the tests of pages run one after the other.
@pytest.mark.ui
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


@pytest.mark.ui
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
