"""A snapshot differs after each change that others would notice, and after nothing else."""

from collections.abc import Callable, Iterator

import pytest

from orders_lakehouse.sample_shop.complete_journey import CompleteJourney, read_complete_journey
from tests.support.neighbours import ON_MARTS, make_shop, make_warehouse
from tests.support.reader import run
from tests.support.snapshots import Snapshot, mart_grants, snapshot_of_everything, snapshot_of_others
from tests.support.tls import Server, tls_server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("snapshots")]

NOTICED_IN_WAREHOUSE = [
    "UPDATE public.rates SET rate = rate WHERE valid_on = '2017-03-01'",
    "DELETE FROM marts.budget WHERE month = '2017-02-01'",
    "CREATE TABLE marts.fct_orders__dbt_tmp ()",
    "CREATE SCHEMA dbt_test__audit",
    "CREATE TABLE finance.more ()",
    "GRANT SELECT ON finance.bookings TO lakehouse",
    "REVOKE SELECT ON bi.revenue_by_city FROM analyst",
    "REVOKE USAGE ON SCHEMA marts FROM analyst",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA finance GRANT SELECT ON TABLES TO lakehouse",
    "ALTER TABLE public.rates OWNER TO lakehouse",
    "COMMENT ON COLUMN finance.bookings.amount IS 'in dollars'",
    "CREATE OR REPLACE VIEW bi.revenue_by_city AS SELECT ''::text AS city, 0.0 AS revenue, 0::bigint AS orders",
    "REFRESH MATERIALIZED VIEW bi.customers",
    "REINDEX INDEX finance.bookings_by_date",
    "CREATE OR REPLACE FUNCTION finance.in_thousands(amount numeric) RETURNS numeric LANGUAGE sql RETURN amount",
    "DROP TABLE public.dim_customers",
    "SELECT setval('finance.booking_numbers', 1)",
    "ALTER ROLE analyst CREATEDB",
    "ALTER DATABASE warehouse SET work_mem = '1MB'",
    "GRANT CREATE ON DATABASE warehouse TO lakehouse",
]
NOTICED_IN_SHOP = [
    "CREATE TEMPORARY TABLE keys ()",
    "CREATE INDEX ON shop.orders (status)",
    "SELECT order_id FROM shop.orders LIMIT 1 FOR UPDATE",
    "UPDATE shop.suppliers SET iban = iban WHERE supplier_id = 1",
    "CREATE STATISTICS shop.clocks ON updated_at, status FROM shop.orders",
    "CREATE PUBLICATION changes FOR TABLE shop.orders",
    "ALTER TABLE shop.orders SET (fillfactor = 90)",
    "CREATE TABLE public.watermarks ()",
]
# The server analyzes tables by itself; the lakehouse writes its own tables, and uses temporary ones in the warehouse.
UNNOTICED_IN_WAREHOUSE = [
    "ANALYZE",
    "CREATE TEMPORARY TABLE changes (id integer)",
    "CREATE TABLE lake.orders (id integer PRIMARY KEY)",
    "INSERT INTO marts.fct_orders (order_id, total_price) VALUES ('new', 1)",
]
# Marts without rows, with the columns that others use.
STUBS = """
    CREATE TABLE marts.fct_orders (order_id text, customer_key text, total_price numeric);
    CREATE TABLE marts.dim_customers (customer_key text, customer_id text, city text);
    CREATE TABLE marts.dim_products (category text, product_name text);
"""


@pytest.fixture(scope="module")
def server(
    postgres_server: str,  # noqa: ARG001 (makes the user that servers run as)
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    journey = read_complete_journey()
    sold = journey.transactions.head(100)
    with tls_server("-c", "fsync=off") as made:
        make_warehouse(made.owner_url("warehouse"))
        run(made.owner_url("warehouse"), f"{STUBS}; {ON_MARTS}")
        products = journey.products.join(sold, on="product_id", how="semi")
        few = CompleteJourney(sold, products, journey.demographics)
        make_shop(made.owner_url("shop"), few, tmp_path_factory.mktemp("scripts"))
        yield made


def differences(take: Callable[[str], Snapshot], url: str, statements: list[str]) -> dict[str, bool]:
    """Return for each statement whether the snapshot after it differs from the one before it."""
    differs, before = {}, take(url)
    for statement in statements:
        run(url, statement)
        after = take(url)
        differs[statement] = after != before
        before = after
    return differs


def test_snapshot_of_others_notices_visible_changes(server: Server) -> None:
    url = server.owner_url("warehouse")
    assert differences(snapshot_of_others, url, UNNOTICED_IN_WAREHOUSE) == dict.fromkeys(UNNOTICED_IN_WAREHOUSE, False)
    assert differences(snapshot_of_others, url, NOTICED_IN_WAREHOUSE) == dict.fromkeys(NOTICED_IN_WAREHOUSE, True)


@pytest.mark.parametrize(
    "statement",
    [
        "REVOKE SELECT ON marts.fct_orders FROM analyst",
        "REVOKE SELECT (category) ON marts.dim_products FROM PUBLIC",
        "ALTER TABLE marts.fct_orders RENAME TO old; CREATE TABLE marts.fct_orders AS TABLE marts.old; DROP VIEW bi.x",
    ],
)
def test_mart_grants_notice_a_new_grant_and_a_dropped_table(server: Server, statement: str) -> None:
    url = server.owner_url("warehouse")
    run(url, "CREATE OR REPLACE VIEW bi.x AS SELECT order_id FROM marts.fct_orders")
    assert differences(mart_grants, url, [statement]) == {statement: True}


def test_snapshot_of_everything_notices_new_and_locked_objects(server: Server) -> None:
    url = server.owner_url("shop")
    assert differences(snapshot_of_everything, url, ["ANALYZE"]) == {"ANALYZE": False}
    assert differences(snapshot_of_everything, url, NOTICED_IN_SHOP) == dict.fromkeys(NOTICED_IN_SHOP, True)
