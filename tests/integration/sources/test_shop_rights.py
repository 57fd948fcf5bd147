"""A shop's user with the rights of `docs/source.md` and no others: all that reads the shop works with them."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import polars as pl
import pytest

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.order_items import ENTITY as ORDER_ITEMS_ENTITY
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.entities.payments import RAW_PAYMENTS
from orders_lakehouse.pipeline.reconciliation import compare_totals_with_shop, compare_with_shop
from orders_lakehouse.pipeline.source_lag import uncaptured
from orders_lakehouse.postgres.connections import DatabaseError, connect
from orders_lakehouse.settings import settings
from orders_lakehouse.sources.base import Window
from orders_lakehouse.sources.postgres.changes import changed_dates
from orders_lakehouse.sources.postgres.columns import contract_columns, grant
from orders_lakehouse.sources.postgres.versions import read_versions
from orders_lakehouse.tables import RAW, SOURCE_COLUMNS
from tests.support.daemon import Daemon
from tests.support.lakehouse import SHOP_SCHEMA, Lakehouse, changed, failures
from tests.support.late_changes import CHANGES_BACK, IN_THE_LAKE, SHOP
from tests.support.reader import READER, SCRIPT, make_reader, postgres_program, reader_of, run
from tests.support.rows import on

# The user belongs to the whole server.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("lakehouse_reader"), pytest.mark.usefixtures("clean_settings")]

CALENDAR = Calendar(on("2017-01-01"), "UTC")
WHOLE = Window(on("2017-01-01"), on("2017-01-10"), CALENDAR)
# What the lakehouse has no business with.
PRIVATE = "".join(f"ALTER TABLE shop.{table.name} ADD private text DEFAULT 'not yours';" for table in RAW)
# The oracle reads whole rows.
SEEN = "".join(
    f"ALTER TABLE oracle.seen_{name} ADD private text DEFAULT 'not yours';" for name in ("customers", "products")
)


@pytest.fixture
def restricted(lakehouse: Lakehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lakehouse]:
    """A lakehouse that reads its shop as the document's user; its tables have a column that this user may not read."""
    changed(lakehouse, SHOP)
    lakehouse.shop(PRIVATE + SEEN)
    with reader_of(lakehouse.shop_url, tmp_path) as url:
        monkeypatch.setenv("SHOP_DATABASE_URL", url)
        settings.cache_clear()
        yield lakehouse
    settings.cache_clear()


def test_document_grants_the_columns_of_the_contracts() -> None:
    granted = " ".join(SCRIPT.split())
    assert [
        statement for table in RAW if (statement := grant(table, contract_columns(table), READER)) not in granted
    ] == []
    assert granted.count("GRANT SELECT") == len(RAW)


@pytest.mark.long
def test_documented_rights_suffice_for_all_that_reads_the_shop(restricted: Lakehouse) -> None:
    with pytest.raises(DatabaseError, match="permission denied for table orders"), connect("shop") as connection:
        connection.cursor().execute("SELECT private FROM shop.orders")

    daemon = Daemon(restricted)
    assert [job for job, _, _ in daemon.settle()] == ["capture_changes_job", "derive_dates_job"]
    assert restricted.wrong_curated() == {}
    changed(restricted, CHANGES_BACK)
    daemon.settle()
    assert restricted.wrong_curated() == {}
    assert daemon.settle() == []

    for job in ("reconcile_job", "freshness_job"):
        assert failures(restricted.run_job(job)) == []
    assert uncaptured(restricted.lake).refused == {}
    assert not any("private" in restricted.lake_rows(table).columns for table in RAW)
    assert "private" not in restricted.lake_rows(SOURCE_COLUMNS)["column_name"]


def test_extra_column_is_captured_once_it_may_be_read(restricted: Lakehouse) -> None:
    restricted.shop(f"GRANT SELECT (private) ON shop.orders TO {READER}")
    (drift,) = failures(restricted.run("2017-01-01", "2017-01-10", select="group:raw"))
    assert drift.startswith("check schema_drift on raw/orders: ")
    assert "private" in drift
    extras = [batch.extras for batch in read_versions(RAW_ORDERS, WHOLE)]
    assert set(pl.concat(extras)["private"]) == {"not yours"}
    assert [batch.extras.width for batch in read_versions(RAW_PAYMENTS, WHOLE)] == [0]


@pytest.mark.parametrize(
    ("revoked", "named", "mended"),
    [
        (
            f"REVOKE SELECT (status, paid_at) ON shop.payments FROM {READER}",
            "columns status, paid_at of shop.payments, which raw/payments needs",
            [f"GRANT SELECT (status, paid_at) ON shop.payments TO {READER};"],
        ),
        (
            f"REVOKE USAGE ON SCHEMA shop FROM {READER}",
            "the schema shop, which raw/payments needs",
            [f"GRANT USAGE ON SCHEMA shop TO {READER};"],
        ),
        (
            f"REVOKE USAGE ON SCHEMA shop FROM {READER}; REVOKE SELECT (amount) ON shop.payments FROM {READER}",
            "columns amount of shop.payments",
            [f"GRANT USAGE ON SCHEMA shop TO {READER};", f"GRANT SELECT (amount) ON shop.payments TO {READER};"],
        ),
    ],
)
def test_missing_right_is_named_with_its_grant_statement(
    restricted: Lakehouse, revoked: str, named: str, mended: list[str]
) -> None:
    restricted.shop(revoked)
    with pytest.raises(DatabaseError) as raised:
        list(read_versions(RAW_PAYMENTS, WHOLE))
    message = str(raised.value)
    assert named in message
    statements = " ".join(mended)
    assert message.endswith(f"Let the owner run: {statements}")
    restricted.shop(statements)
    assert sum(batch.rows.height for batch in read_versions(RAW_PAYMENTS, WHOLE)) > 0


FOREIGN = """
CREATE EXTENSION postgres_fdw;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{host}', dbname '{database}');
CREATE USER MAPPING FOR CURRENT_USER SERVER elsewhere OPTIONS (user 'postgres', password_required 'false');
CREATE USER MAPPING FOR {reader} SERVER elsewhere OPTIONS (user 'postgres', password_required 'false');
GRANT USAGE ON FOREIGN SERVER elsewhere TO {reader};
CREATE FOREIGN TABLE shop.orders ({columns}) SERVER elsewhere OPTIONS (schema_name 'shop', table_name 'old_orders');
"""
KINDS = {
    "view": "CREATE VIEW shop.orders AS SELECT * FROM shop.old_orders",
    "materialized view": "CREATE MATERIALIZED VIEW shop.orders AS SELECT * FROM shop.old_orders",
    "partitioned table": """
        CREATE TABLE shop.orders (LIKE shop.old_orders) PARTITION BY RANGE (updated_at);
        CREATE TABLE shop.orders_old PARTITION OF shop.orders FOR VALUES FROM (MINVALUE) TO ('2017-01-03');
        CREATE TABLE shop.orders_new PARTITION OF shop.orders FOR VALUES FROM ('2017-01-03') TO (MAXVALUE);
        INSERT INTO shop.orders SELECT * FROM shop.old_orders
    """,
    "foreign table": FOREIGN,
}


def make_source_of_kind(lakehouse: Lakehouse, kind: str) -> None:
    """Put something of another kind in the place of the shop's orders, with the same rows and rights."""
    columns = lakehouse.shop_rows(
        "SELECT attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END"
        " FROM pg_attribute WHERE attrelid = 'shop.orders'::regclass AND attnum > 0 ORDER BY attnum"
    )
    server = "SELECT split_part(current_setting('unix_socket_directories'), ',', 1), current_database()"
    ((host, database),) = lakehouse.shop_rows(server)
    lakehouse.shop("ALTER TABLE shop.orders RENAME TO old_orders")
    declared = ", ".join(column for (column,) in columns)
    lakehouse.shop(KINDS[kind].format(columns=declared, host=host, database=database, reader=READER))
    lakehouse.shop(grant(RAW_ORDERS, contract_columns(RAW_ORDERS), READER))


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_of_table_is_a_source(restricted: Lakehouse, kind: str) -> None:
    in_table = pl.concat(batch.rows for batch in read_versions(RAW_ORDERS, WHOLE))
    make_source_of_kind(restricted, kind)
    order = ["order_id", "updated_at"]
    found = pl.concat(batch.rows for batch in read_versions(RAW_ORDERS, WHOLE))
    assert found.drop("captured_at").sort(order).equals(in_table.drop("captured_at").sort(order))
    _, marks = changed_dates({}, lambda _: {}, CALENDAR)
    assert changed_dates(marks, lambda _: {}, CALENDAR)[0] == []
    underneath = "orders" if kind == "partitioned table" else "old_orders"
    restricted.shop(f"UPDATE shop.{underneath} SET status = 'paid', updated_at = '2017-01-08' WHERE order_id = 'moves'")
    if kind == "materialized view":
        restricted.shop("REFRESH MATERIALIZED VIEW shop.orders")
    assert on("2017-01-08") in changed_dates(marks, lambda _: {}, CALENDAR)[0]
    assert failures(restricted.run("2017-01-01", "2017-01-10", select="group:raw")) == []
    compared = compare_with_shop(restricted.lake, RAW_ORDERS, CALENDAR, []).by_date
    assert compared["difference"].drop_nulls().is_empty()
    assert compared["found"].sum() == in_table.height


@pytest.mark.parametrize("kind", ["view", "materialized view", "foreign table"])
def test_row_without_clock_is_refused_despite_not_null(restricted: Lakehouse, kind: str) -> None:
    make_source_of_kind(restricted, kind)
    restricted.shop("ALTER TABLE shop.old_orders ALTER updated_at DROP NOT NULL")
    restricted.shop("INSERT INTO shop.old_orders (order_id) VALUES ('timeless')")
    if kind == "materialized view":
        restricted.shop("REFRESH MATERIALIZED VIEW shop.orders")
    with pytest.raises(DatabaseError, match=r"shop\.orders has 1 rows without updated_at"):
        list(read_versions(RAW_ORDERS, WHOLE))


def test_unvalidated_not_null_is_not_trusted(restricted: Lakehouse) -> None:
    restricted.shop("""
        ALTER TABLE shop.orders ALTER updated_at DROP NOT NULL;
        INSERT INTO shop.orders (order_id) VALUES ('timeless');
        ALTER TABLE shop.orders ADD CONSTRAINT has_clock NOT NULL updated_at NOT VALID;
    """)
    with pytest.raises(DatabaseError, match=r"shop\.orders has 1 rows without updated_at"):
        list(read_versions(RAW_ORDERS, WHOLE))


@pytest.fixture
def standby(tmp_path: Path) -> Iterator[str]:
    """The URL of the document's user on a hot standby, which refuses whatever writes."""
    home = Path(tempfile.mkdtemp(prefix="lakehouse-standby-"))
    user = "embedded_postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(home, user)
    data = home / "data"

    def program(name: str, *arguments: str) -> None:
        command = [postgres_program(name), "--pgdata", str(data), *arguments]
        subprocess.run(command, check=True, user=user, stdout=subprocess.DEVNULL, cwd=home)

    start = ("start", "--wait", "--log", str(home / "log"), "--options", f"-c listen_addresses='' -k {home}")
    program("initdb", "--username=postgres", "--auth=trust", "--no-sync")
    program("pg_ctl", *start)
    try:
        owner = f"postgresql://postgres@/postgres?host={quote(str(home), safe='/')}"
        run(owner, SHOP_SCHEMA)
        run(owner, f"{SHOP};{PRIVATE}")
        reader = make_reader(owner, tmp_path)
        program("pg_ctl", "restart", "--wait", "--mode=fast", "--log", str(home / "log"))
        program("pg_ctl", "stop", "--wait", "--mode=fast")
        (data / "standby.signal").touch()
        program("pg_ctl", *start)
        yield reader
    finally:
        program("pg_ctl", "stop", "--mode=immediate")
        shutil.rmtree(home)


@pytest.mark.thorough
def test_hot_standby_is_a_source(
    standby: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url_factory: Callable[[str], str]
) -> None:
    monkeypatch.setenv("SHOP_DATABASE_URL", standby)
    monkeypatch.setenv("LAKE_URL", str(tmp_path / "lake"))
    monkeypatch.setenv("WAREHOUSE_DATABASE_URL", postgres_url_factory("warehouse"))
    settings.cache_clear()
    with connect("shop") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')")
        assert cursor.fetchall() == [(True, "on")]
    with dg.DagsterInstance.ephemeral(str(tmp_path)) as instance:
        lakehouse = Lakehouse(standby, "", Lake(str(tmp_path / "lake"), "UTC"), instance)
        assert failures(lakehouse.run("2017-01-01", "2017-01-10", select=IN_THE_LAKE)) == []
        assert failures(lakehouse.run_job("reconcile_job")) == []
    _, marks = changed_dates({}, lambda _: {}, CALENDAR)
    assert changed_dates(marks, lambda _: {}, CALENDAR)[0] == []
    found = uncaptured(lakehouse.lake)
    assert (found.rows, found.behind, found.refused) == ({}, timedelta(), {})
    assert compare_totals_with_shop(lakehouse.lake, ORDER_ITEMS_ENTITY, ORDER_ITEMS_ENTITY.total)["lines"].sum() > 0
