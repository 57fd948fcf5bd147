"""Run a package that has the two new tables, and print what becomes of them."""

import json
import os
from datetime import date, timedelta
from pathlib import Path

import dagster as dg

from orders_lakehouse.cli.dictionary_entries import entries
from orders_lakehouse.curated.registry import CURATED_TABLES
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.pipeline.row_accounting import accounts
from orders_lakehouse.settings import settings
from orders_lakehouse.tables import ENTITY_OF
from orders_lakehouse.warehouse.copies import COPIES
from orders_lakehouse.warehouse.load import load
from tests.support.daemon import Daemon
from tests.support.lakehouse import Lakehouse, failures

THROUGH = "group:raw or group:cleansed or group:curated"
DERIVED = "group:cleansed or group:curated"
PARCELS = ENTITY_OF["parcels"]
(CARRIERS,) = (curated.table for curated in CURATED_TABLES if curated.name == "carriers")

SHIPPED = """
CREATE TABLE shop.parcels (
  parcel_id text, order_id text, carrier text, weight numeric, updated_at timestamptz, deleted_at timestamptz
);
CREATE INDEX ON shop.parcels (updated_at);
INSERT INTO shop.parcels VALUES
  ('s1', 'o1', ' fast ', 1.5, '2017-01-02 08:00+00', null),
  ('s2', 'o1', 'slow', 3, '2017-01-02 08:00+00', null),
  ('s3', 'o2', 'slow', -1, '2017-01-02 08:00+00', null),
  ('s4', 'nowhere', 'slow', 1, '2017-01-02 08:00+00', null);
"""


def main() -> None:
    """Print what was found, as JSON."""
    with dg.DagsterInstance.ephemeral(os.environ["LAKEHOUSE_HOME"]) as instance:
        urls = (os.environ[f"{name}_DATABASE_URL"] for name in ("SHOP", "WAREHOUSE"))
        lakehouse = Lakehouse(*urls, configured_lake(), instance)
        found = {"failures without the table": failures(lakehouse.run("2017-01-01", "2017-01-03", select=THROUGH))}
        lakehouse.shop(SHIPPED)
        found |= {"failures of the run": failures(lakehouse.run("2017-01-01", "2017-01-03", select=THROUGH))}
        found |= state(lakehouse)
        daemon = Daemon(lakehouse, through=DERIVED)
        settle(daemon)
        daemon.asked.clear()
        lakehouse.shop("UPDATE shop.parcels SET weight = 2, updated_at = '2017-01-03 09:00+00' WHERE parcel_id = 's1'")
        settle(daemon)
        found["asked by sensors"] = daemon.asked
        found["carriers after the change"] = rows(lakehouse, CARRIERS, "order_date", "carrier", "parcels", "weight")
        found |= waived(lakehouse)
        graph = lakehouse.definitions.resolve_asset_graph()
        checks = graph.asset_check_keys
        found["checks"] = sorted(
            check.name for check in checks if check.asset_key.path[-1] in (PARCELS.name, CARRIERS.name)
        )
        found["dictionary"] = [entry.path for entry in entries() if entry.name in (PARCELS.name, CARRIERS.name)]
    print(json.dumps(found, default=str))


def waived(lakehouse: Lakehouse) -> dict[str, object]:
    """Waive the rule that a parcel breaks, and derive its date."""
    today = date.today()  # noqa: DTZ011 (any day of this year)
    entry = {"table": "parcels", "rule": "weight_not_positive", "key": "s3", "reason": "Returned", "owner": "shop"}
    lines = [f'{name} = "{value}"' for name, value in entry.items()]
    lines += [f"granted = {today}", f"expires = {today + timedelta(days=30)}"]
    path = Path(os.environ["LAKEHOUSE_HOME"], "waivers.toml")
    path.write_text("\n".join(["[[waiver]]", *lines, ""]))
    os.environ["LAKEHOUSE_WAIVERS"] = str(path)
    settings.cache_clear()
    result = lakehouse.run("2017-01-02", job="derive_dates_job", select=DERIVED)
    return {
        "failures with a waiver": failures(result),
        "carriers with a waiver": rows(lakehouse, CARRIERS, "order_date", "carrier", "weight")[-1],
    }


def settle(daemon: Daemon) -> None:
    """Tick until no sensor requests a run."""
    for _ in range(5):
        if not daemon.tick_all():
            return


def state(lakehouse: Lakehouse) -> dict[str, object]:
    """Return the content of each layer."""
    books = accounts(lakehouse.lake, PARCELS.cleansed)
    # A run loads the copies that its marts read, and no mart reads this one.
    (copy,) = (copy for copy in COPIES if copy.table is PARCELS.cleansed)
    load(lakehouse.lake, copy)
    return {
        "raw": rows(lakehouse, PARCELS.raw, "parcel_id", "weight"),
        "cleansed": rows(lakehouse, PARCELS.cleansed, "parcel_id", "order_date", "weight"),
        "quarantine": rows(lakehouse, PARCELS.quarantine, "parcel_id", "reasons"),
        "accounts": [books.captured, books.current, books.quarantined, books.missing],
        "carriers": rows(lakehouse, CARRIERS, "order_date", "carrier", "parcels", "weight"),
        "copy": [list(map(str, row)) for row in lakehouse.warehouse_rows(COPY)],
    }


COPY = "SELECT parcel_id, order_date, weight FROM lake.parcels ORDER BY 1"


def rows(lakehouse: Lakehouse, table: object, *columns: str) -> list[list[str]]:
    """Return some columns of a table, as text."""
    return [list(map(str, row)) for row in lakehouse.lake_rows(table).select(columns).rows()]  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
