"""A lakehouse on a small shop, with its UI, as the tests of pages use it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from adbc_driver_postgresql import dbapi

from orders_lakehouse.settings import PROJECT
from tests.support.webserver import ASSETS, Webserver, materialized_spans

# Orders of a date that is large enough for a share of rejected rows to mean something.
DAY, LINES = "2017-02-01", 30
SHOP = f"""
INSERT INTO shop.products VALUES ('tea', 'Tea', 'Food', 'Maker', 3, 'EUR', '2017-01-01', null);
INSERT INTO shop.orders (order_id, ordered_at, status, currency, updated_at)
  SELECT 'ui ' || n, '{DAY} 10:00+00', 'paid', 'EUR', '{DAY} 10:00+00' FROM generate_series(1, {LINES}) AS n;
INSERT INTO shop.order_items (order_id, line_number, product_id, quantity, unit_price, discount, updated_at)
  SELECT 'ui ' || n, 1, 'tea', 1, 3, 0, '{DAY} 10:00+00' FROM generate_series(1, {LINES}) AS n;
"""


class LakehouseWithUI:
    """A lakehouse with its UI.

    Attributes:
        url: URL of the UI.
    """

    def __init__(self, server: Webserver, shop: str, environment: dict[str, str]) -> None:
        self._server, self._shop, self._environment = server, shop, environment
        self.url = server.url

    def assets(self) -> list[Any]:
        """Return the keys of all assets that can be materialized."""
        return [node["assetKey"] for node in self._server.ask(ASSETS)["assetNodes"] if node["isMaterializable"]]

    def statuses(self, dates: str) -> list[str]:
        """Return the status of each run that is about a range of dates."""
        query = "query ($f: RunsFilter!) { runsOrError(filter: $f) { ... on Runs { results { status } } } }"
        runs = self._server.ask(query, f={"tags": [{"key": "dates", "value": dates}]})["runsOrError"]["results"]
        return [run["status"] for run in runs]

    def last_run(self) -> str:
        """Return the id of the newest run."""
        runs = self._server.ask("{ runsOrError(limit: 1) { ... on Runs { results { runId } } } }")
        return str(runs["runsOrError"]["results"][0]["runId"])

    def materialized(self, key: Any) -> list[str]:
        """Return the materialized dates of an asset, as spans."""
        return materialized_spans(self._server, key)

    def change(self, statement: str) -> None:
        """Execute a statement in the shop."""
        with dbapi.connect(self._shop) as connection, connection.cursor() as cursor:
            cursor.executescript(statement)
            connection.commit()

    def run(self, first: str, last: str) -> int:
        """Run a range of dates from the terminal, and return the exit status."""
        command = [str(Path(sys.executable).with_name("lakehouse")), "backfill", first, last]
        done = subprocess.run(
            command, cwd=PROJECT, env=self._environment, capture_output=True, timeout=300, check=False
        )
        return done.returncode
