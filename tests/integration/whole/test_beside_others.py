"""All at once: the documents' rights, TLS, others in both databases; backfill, sensors, reconciliation, maintenance."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from bench.follow import UNFINISHED, running_daemon
from orders_lakehouse.cli.demo import last_change
from orders_lakehouse.defs.maintenance import maintain_jobs
from orders_lakehouse.defs.reconciliation import reconcile_job
from orders_lakehouse.delta.configured import configured_lake
from orders_lakehouse.postgres.connections import DatabaseError, connect
from orders_lakehouse.sample_shop.complete_journey import CompleteJourney, read_complete_journey
from orders_lakehouse.settings import settings
from orders_lakehouse.sources.postgres.columns import contract_columns
from orders_lakehouse.tables import RAW
from tests.support.daemon import Daemon
from tests.support.lakehouse import Lakehouse, failures
from tests.support.neighbours import ON_MARTS, make_shop, make_warehouse
from tests.support.oracle import MARTS, Differences, compare
from tests.support.reader import DATABASE, LOADER, LOADER_PASSWORD, READER, READER_PASSWORD, Rights, rights_of, run
from tests.support.snapshots import mart_grants, snapshot_of_everything, snapshot_of_others
from tests.support.terminal import command_line
from tests.support.tls import Server, tls_server
from tests.support.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("beside_others"), pytest.mark.usefixtures("clean_settings")]

RIGHTS_IN_SHOP = Rights(
    on_database=frozenset({"CONNECT"}),
    # Postgres lets everybody use the schema public, and make nothing there.
    on_schemas=frozenset({("public", "USAGE"), ("shop", "USAGE")}),
    on_columns=frozenset(
        (f"shop.{table.name}", column, "SELECT") for table in RAW for column in contract_columns(table)
    ),
)
RIGHTS_IN_WAREHOUSE = Rights(
    on_database=frozenset({"CONNECT", "TEMPORARY"}),
    on_schemas=frozenset(
        {("public", "USAGE")}
        | {(name, right) for name in ("lake", "staging", "marts") for right in ("USAGE", "CREATE")}
    ),
)
NEWEST = " UNION ALL ".join(f"SELECT max(updated_at) AS clock FROM shop.{table.name}" for table in RAW)
# An order that grows, one that is deleted, one that is new; a customer who moves, and a price that rises.
CHANGES = """
    UPDATE shop.order_items SET quantity = quantity + 3, updated_at = '{clock}'
    WHERE order_id = (SELECT min(order_id) FROM shop.orders);
    UPDATE shop.orders SET deleted_at = '{clock}', updated_at = '{clock}'
    WHERE order_id = (SELECT max(order_id) FROM shop.orders);
    INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at)
    SELECT 'new', customer_id, '2017-01-02 12:00+00', 'paid', currency, '{clock}' FROM shop.orders
    ORDER BY order_id LIMIT 1;
    INSERT INTO shop.order_items (order_id, line_number, product_id, quantity, unit_price, discount, updated_at)
    SELECT 'new', 1, min(product_id), 2, 5.5, 0, '{clock}' FROM shop.products;
    UPDATE shop.customers SET city = 'Elsewhere', updated_at = '{clock}'
    WHERE customer_id = (SELECT customer_id FROM shop.orders WHERE order_id = 'new');
    UPDATE shop.products SET unit_price = unit_price + 1, updated_at = '{clock}'
    WHERE product_id = (SELECT product_id FROM shop.order_items WHERE order_id = 'new');
"""
ALL_DAYS = 366


@pytest.fixture
def server(postgres_server: str) -> Iterator[Server]:  # noqa: ARG001 (makes the user that servers run as)
    with tls_server("-c", "log_connections=on", "-c", "fsync=off") as made:
        yield made


@pytest.fixture
def restricted(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lakehouse:
    """Return a lakehouse that connects as the documents' users over TLS; the test itself looks as the superuser."""
    verified = {"sslmode": "verify-full", "sslrootcert": str(server.authority.certificate)}
    variables = {
        "LAKEHOUSE_HOME": str(tmp_path / "home"),
        "DAGSTER_HOME": str(tmp_path / "home" / "dagster"),
        "SHOP_DATABASE_URL": server.url(READER, READER_PASSWORD, "shop", **verified),
        "WAREHOUSE_DATABASE_URL": server.url(LOADER, LOADER_PASSWORD, DATABASE, **verified),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    return Lakehouse(server.owner_url("shop"), server.owner_url(DATABASE), configured_lake(), None)


def sample_of(days: int) -> CompleteJourney:
    """Return the first days of the data that the demo's shop is made of, with the products sold on them."""
    journey = read_complete_journey()
    if days == ALL_DAYS:
        return journey
    end = datetime(2017, 1, 1) + timedelta(days=days)  # noqa: DTZ001 (the data has no zone)
    sold = journey.transactions.filter(pl.col("transaction_timestamp") < end)
    return CompleteJourney(sold, journey.products.join(sold, on="product_id", how="semi"), journey.demographics)


def refuse_another_authority(server: Server) -> None:
    """Show the certificate of an authority that is not trusted: both databases are refused."""
    server.present(server.other.issue("localhost"))
    for database in ("shop", "warehouse"):
        with pytest.raises(DatabaseError, match="certificate verify failed"), connect(database):
            pass
    server.present(server.authority.issue("localhost"))
    server.connections.clear()


def follow_by_ticks(daemon: Daemon) -> None:
    assert {job for job, _, _ in daemon.settle()} == {"capture_changes_job", "derive_dates_job"}


def follow_by_processes(daemon: Daemon) -> None:
    """Start Dagster's own daemon, as `make dev` does, and wait until the facts show the shop."""
    shown = "SELECT count(*) FROM marts.fct_orders WHERE order_id = 'new'"
    with running_daemon(os.environ) as instance:
        wait_for(lambda: daemon.lakehouse.warehouse_rows(shown) == [(1,)], 600, every=1)
        # The new order alone does not show that the other dates are built.
        wait_for(lambda: not instance.get_runs_count(UNFINISHED) and wrong_dates(daemon.lakehouse) is None, 600, 2)


def wrong_dates(lakehouse: Lakehouse) -> Differences | None:
    """Return dates whose orders, lines, units or amounts differ between shop and facts."""
    return compare(lakehouse.oracle.rows("per_date"), lakehouse.warehouse_rows(MARTS["per_date"]))


@contextmanager
def instance_of_the_command(lakehouse: Lakehouse) -> Iterator[None]:
    with dg.DagsterInstance.get() as instance:
        lakehouse.instance = instance
        yield


def encrypted_users(server: Server) -> set[tuple[str, str, bool]]:
    """Return user and database of each connection, and whether dbt made it; none was in clear."""
    authorized = re.findall(r"connection authorized: user=(\S+) database=(\S+)(?: application_name=(\S+))?", server.log)
    of_documents = [(user, name, program == "dbt") for user, name, program in authorized if user in (READER, LOADER)]
    assert set(server.connections) == {True}
    # The server's log has every connection, the front's record only those by TCP.
    assert len(server.connections) == len(of_documents)
    return set(of_documents)


@pytest.mark.parametrize(
    ("days", "follow"),
    [(3, follow_by_ticks), pytest.param(ALL_DAYS, follow_by_processes, marks=pytest.mark.thorough)],
)
@pytest.mark.long
def test_foreign_objects_in_shop_and_warehouse_stay_unchanged(
    restricted: Lakehouse, server: Server, tmp_path: Path, days: int, follow: Callable[[Daemon], None]
) -> None:
    shop, warehouse = restricted.shop_url, restricted.warehouse_url
    make_shop(shop, sample_of(days), tmp_path)
    make_warehouse(warehouse)
    restricted.oracle.install()
    assert rights_of(shop, READER) == RIGHTS_IN_SHOP
    assert rights_of(warehouse, LOADER) == RIGHTS_IN_WAREHOUSE
    refuse_another_authority(server)

    in_shop, in_warehouse = snapshot_of_everything(shop), snapshot_of_others(warehouse)
    finished = command_line(["backfill", str(settings().start_date), str(last_change())], seconds=900)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert wrong_dates(restricted) is None
    assert snapshot_of_everything(shop) ^ in_shop == set()
    assert snapshot_of_others(warehouse) ^ in_warehouse == set()

    run(warehouse, ON_MARTS)
    in_warehouse, grants = snapshot_of_others(warehouse), mart_grants(warehouse)
    with instance_of_the_command(restricted):
        daemon = Daemon(restricted, through=None)
        # The backfill has left nothing to do.
        assert daemon.settle() == []
        ((clock,),) = restricted.shop_rows(f"SELECT (max(clock) + interval '1 hour')::text FROM ({NEWEST}) AS t")
        run(shop, CHANGES.format(clock=clock))
        in_shop = snapshot_of_everything(shop)
        follow(daemon)
        assert wrong_dates(restricted) is None
        for job in (reconcile_job.name, *(job.name for job in maintain_jobs)):
            assert failures(restricted.run_job(job)) == [], job

    assert wrong_dates(restricted) is None
    in_view = restricted.warehouse_rows("SELECT sum(revenue), sum(orders)::bigint FROM bi.revenue_by_city")
    assert in_view == restricted.warehouse_rows("SELECT sum(total_price), count(*) FROM marts.fct_orders")
    assert snapshot_of_everything(shop) ^ in_shop == set()
    assert snapshot_of_others(warehouse) ^ in_warehouse == set()
    assert mart_grants(warehouse) ^ grants == set()
    assert rights_of(shop, READER) == RIGHTS_IN_SHOP
    assert encrypted_users(server) == {(READER, "shop", False), (LOADER, DATABASE, False), (LOADER, DATABASE, True)}
