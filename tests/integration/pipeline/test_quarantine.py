"""Rows in quarantine, from the command that shows them to the run after which they are gone."""

import json
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from orders_lakehouse import definitions
from orders_lakehouse.defs.jobs import capture_changes_job, derive_dates_job
from orders_lakehouse.defs.reconciliation import UPKEEP
from orders_lakehouse.entities.customers import CUSTOMERS
from orders_lakehouse.partitions import DAILY
from orders_lakehouse.pipeline.check_results import latest
from orders_lakehouse.pipeline.row_accounting import accounts
from orders_lakehouse.tables import CLEANSED, WAIVABLE
from tests.support.lakehouse import Lakehouse
from tests.support.terminal import Command

pytestmark = [pytest.mark.slow, pytest.mark.either_engine]

FIRST, LAST = "2017-01-02", "2017-01-05"
IN_THE_LAKE = "group:raw or group:cleansed"

SHOP = """
INSERT INTO shop.customers (customer_id, email, date_of_birth, registered_at, country_code, updated_at) VALUES
  ('mail', 'no at sign', null, null, 'GB', '2017-01-02'),
  ('nowhere', null, null, null, 'XX', '2017-01-02'),
  ('early', null, null, '2017-02-01', 'GB', '2017-01-02'),
  ('old', null, '1850-01-01', null, 'GB', '2017-01-02');
INSERT INTO shop.products (product_id, unit_price, currency, updated_at) VALUES
  ('tea', 3.00, 'EUR', '2017-01-02'),
  ('free', -1.00, 'EUR', '2017-01-02'),
  ('bitcoin', 1.00, 'BTC', '2017-01-02');
INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at) VALUES
  ('good', 'nowhere', '2017-01-03 10:00+00', 'paid', 'EUR', '2017-01-03 10:00+00'),
  ('bitcoin', 'mail', '2017-01-03 10:00+00', 'paid', 'BTC', '2017-01-03 10:00+00'),
  ('soon', 'early', '2017-01-04 11:00+00', 'paid', 'EUR', '2017-01-03 10:00+00'),
  ('lost', 'old', '2017-01-03 10:00+00', 'lost', 'EUR', '2017-01-03 10:00+00');
INSERT INTO shop.order_items VALUES
  ('good', 1, 'tea', 1, 3.0000, 0, '2017-01-03 10:00+00', null),
  ('good', 2, 'tea', 0, 3.0000, 0, '2017-01-03 10:00+00', null),
  ('good', 3, 'free', 1, -1.0000, 2, '2017-01-03 10:00+00', null),
  ('good', 4, 'tea', 1, 3.0000, -0.5, '2017-01-03 10:00+00', null),
  ('good', 5, 'tea', 1, 3.0000, 3.5, '2017-01-03 10:00+00', null),
  ('bitcoin', 1, 'tea', 1, 3.0000, 9, '2017-01-03 10:00+00', null),
  ('soon', 1, 'bitcoin', 1, 3.0000, 0, '2017-01-03 10:00+00', null),
  ('lost', 1, 'tea', 1, 3.0000, 0, '2017-01-03 10:00+00', null),
  ('unknown', 1, 'tea', 1, 3.0000, 0, '2017-01-03 10:00+00', null);
INSERT INTO shop.payments VALUES
  ('back', 'good', 'card', -1.00, 'EUR', 'captured', null, '2017-01-03 10:00+00', null),
  ('coin', 'soon', 'card', 3.00, 'BTC', 'captured', null, '2017-01-03 10:00+00', null);
INSERT INTO shop.shipments (shipment_id, order_id, cost, currency, status, updated_at) VALUES
  ('credit', 'good', -1.00, 'EUR', 'pending', '2017-01-03 10:00+00');
"""
# Every rule that can be waived, on a row that breaks it.
WAIVED = {
    "customers": {
        "mail": "email_malformed",
        "nowhere": "country_code_not_iso_3166",
        "early": "registered_at_out_of_range",
        "old": "date_of_birth_out_of_range",
    },
    "products": {"free": "unit_price_negative", "bitcoin": "currency_not_iso_4217"},
    "orders": {"bitcoin": "currency_not_iso_4217", "soon": "ordered_at_in_future"},
    "order_items": {
        "good / 2": "quantity_not_positive",
        "good / 3": "unit_price_negative total_price_negative",
        "good / 4": "discount_negative",
        "good / 5": "total_price_negative",
        "bitcoin / 1": "total_price_negative",
    },
    "payments": {"back": "amount_negative", "coin": "currency_not_iso_4217"},
    "shipments": {"credit": "cost_negative"},
}
# Tables whose rows stay without the value that breaks a rule.
KEPT = ("customers", "products", "shipments")
LEFT = {"orders": "status_not_in_list", "order_items": "order_quarantined order_unknown"}


def write_waivers(path: Path, waived: Mapping[str, Mapping[str, str]]) -> None:
    entry = '[[waiver]]\ntable = "{}"\nkey = "{}"\nrule = "{}"\nreason = "A test"\nowner = "tests"\n'
    dates = "granted = 2098-06-01\nexpires = 2099-05-01\n"
    path.write_text(
        "\n".join(
            entry.format(table, key, rule) + dates
            for table, keys in waived.items()
            for key, rules in keys.items()
            for rule in rules.split()
        )
    )


def warned(lakehouse: Lakehouse) -> dict[str, dict[str, str]]:
    """Return the rules that rows of KEPT break without being rejected, by table and key."""
    found = {table: lakehouse.lake_rows(table) for table in CLEANSED if table.name in KEPT}
    return {
        table.name: dict(rows.filter(~pl.col("warnings").is_null()).select(*table.key, "warnings").iter_rows())
        for table, rows in found.items()
    }


def standing(command: Command) -> tuple[dict[str, set[str]], dict[str, int]]:
    """Reasons in quarantine by table, and how many waivers are in each state."""
    status, output, errors = command("quarantine", "list", "--json")
    assert (status, errors) == (0, "")
    found = json.loads(output)
    reasons: dict[str, set[str]] = {}
    for row in found["reasons"]:
        reasons.setdefault(row["table"], set()).add(row["reason"])
    states = [one["state"] for one in found["waivers"]]
    return reasons, {state: states.count(state) for state in set(states)}


def of_the_lake(lakehouse: Lakehouse) -> dg.Definitions:
    """The lakehouse's definitions with jobs that end before the warehouse."""
    whole = lakehouse.definitions
    before_warehouse = dg.AssetSelection.groups("raw", "cleansed", "curated") - UPKEEP
    jobs = [
        dg.define_asset_job(job.name, selection=job.selection & before_warehouse, partitions_def=DAILY)
        for job in (capture_changes_job, derive_dates_job)
    ]
    return dg.Definitions(
        assets=whole.assets,
        asset_checks=whole.asset_checks,
        jobs=jobs,
        resources=whole.resources,
        executor=whole.executor,
    )


def replayed(command: Command, *arguments: str) -> list[str]:
    status, output, errors = command("quarantine", "replay", *arguments)
    assert (status, errors) == (0, "")
    return [line.rstrip() for line in output.splitlines()]


@pytest.fixture
def waivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "ours.toml"
    path.touch()
    monkeypatch.setenv("LAKEHOUSE_WAIVERS", str(path))
    return path


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.thorough)], ids=["lake", "marts"])
@pytest.mark.long
def test_row_leaves_by_waiver_or_correction_and_may_return(
    lakehouse: Lakehouse, command: Command, waivers: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    monkeypatch.setattr(definitions, "defs", lakehouse.definitions if whole else of_the_lake(lakehouse))
    lakehouse.shop(SHOP)
    assert lakehouse.run(FIRST, LAST, select=IN_THE_LAKE).success
    broken = {table: set(" ".join(keys.values()).split()) for table, keys in WAIVED.items()}
    assert set().union(*broken.values()) == WAIVABLE
    found = standing(command)[0]
    assert {table: reasons & found.get(table, set()) for table, reasons in broken.items()} == {
        **broken,
        **{table: set() for table in KEPT},
    }
    # A wrong attribute of a member, or the cost of a shipment, becomes null, and the row stays.
    assert warned(lakehouse) == {table: WAIVED[table] for table in KEPT}
    assert set(lakehouse.lake_rows(CUSTOMERS)["email"]) == {None}

    # Every rule that can be waived is, and nothing downstream minds.
    write_waivers(waivers, WAIVED)
    assert standing(command)[1].keys() == {"to replay"}
    told = replayed(command)
    assert ["order_items", "total_price_negative", "3", "0"] in map(str.split, told)
    reasons, states = standing(command)
    assert reasons == {table: set(left.split()) for table, left in LEFT.items()}
    assert warned(lakehouse) == {table: {} for table in KEPT}
    assert dict(lakehouse.lake_rows(CUSTOMERS).select("customer_id", "email").iter_rows())["mail"] == "no at sign"
    assert states == {"in force": sum(len(rules.split()) for keys in WAIVED.values() for rules in keys.values())}
    assert [accounts(lakehouse.lake, table).missing for table in CLEANSED] == [0] * len(CLEANSED)
    results = latest(lakehouse.lake)
    assert set(results["check_name"]) >= {"order_lines_contract", "daily_sales_contract", "customer_profile_contract"}
    # A payment whose currency is waived is in another one than its order, and warns.
    failed = results.filter(~pl.col("passed")).select("asset", "check_name", "severity").rows()
    assert failed == [("cleansed/payments", "no_warnings", "WARN")]

    # Two corrections in the shop, one of which leaves a waiver without a row; others are withdrawn.
    lakehouse.shop("UPDATE shop.order_items SET quantity = 2, updated_at = '2017-01-05' WHERE line_number = 2")
    lakehouse.shop("UPDATE shop.orders SET status = 'paid', updated_at = '2017-01-05' WHERE order_id = 'lost'")
    assert lakehouse.run(LAST, select="key:raw/orders or key:raw/order_items").success
    write_waivers(waivers, {**WAIVED, "customers": {}, "orders": {}, "payments": {}})
    told = replayed(command)
    assert ["orders", "status_not_in_list", "1", "0"] in map(str.split, told)
    reasons, states = standing(command)
    assert reasons == {
        "orders": {"currency_not_iso_4217", "ordered_at_in_future"},
        "order_items": {"order_unknown", "order_quarantined"},
        "payments": {"amount_negative", "order_quarantined", "currency_not_iso_4217"},
    }
    assert warned(lakehouse) == {"customers": WAIVED["customers"], "products": {}, "shipments": {}}
    assert states["stale"] == 1
