"""A warehouse that is shared: what others have there stands afterwards as it stood before."""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from adbc_driver_postgresql import dbapi

from orders_lakehouse.runtime.adbc_pool import connect
from orders_lakehouse.settings import settings
from orders_lakehouse.warehouse.ownership import OWNED
from tests.support.lakehouse import MARTS, Lakehouse, failures, lakehouse_like
from tests.support.reader import DATABASE, LOADER, LOADER_SCRIPT

# They share a warehouse that stands.
pytestmark = pytest.mark.xdist_group("ownership")

DATES = ("2017-01-01", "2017-01-10")
WAREHOUSE = "group:marts"
OF_OTHERS = """
    CREATE SCHEMA marts; CREATE SCHEMA lake; CREATE SCHEMA analyst;
    CREATE TABLE marts.dim_date (date_key integer PRIMARY KEY, d date, fiscal_period text);
    INSERT INTO marts.dim_date VALUES (1, '2017-01-01', 'P07');
    CREATE TABLE marts.fct_orders (date_id integer, order_no text, amount numeric);
    INSERT INTO marts.fct_orders VALUES (20170102, 'A-1', 12.5), (20991231, 'A-2', 7);
    CREATE TABLE lake.orders (id integer, note text);
    INSERT INTO lake.orders VALUES (1, 'mine');
    CREATE VIEW analyst.periods AS SELECT fiscal_period FROM marts.dim_date;
    CREATE VIEW analyst.notes AS SELECT note FROM lake.orders;
"""
# Everything in some schemas: tables, views and their definitions, with the number by which the server knows them.
OBJECTS = """
    SELECT c.oid::regclass::text, c.oid::bigint, coalesce(pg_get_viewdef(c.oid), ''), coalesce(c.relacl::text, '')
    FROM pg_class AS c WHERE c.relnamespace::regnamespace::text IN ('marts', 'lake', 'staging', 'analyst')
    ORDER BY 1
"""
CONTENT = """
    SELECT 'dim_date', t::text FROM marts.dim_date AS t
    UNION ALL SELECT 'fct_orders', t::text FROM marts.fct_orders AS t
    UNION ALL SELECT 'orders', t::text FROM lake.orders AS t
    UNION ALL SELECT 'periods', t::text FROM analyst.periods AS t
    UNION ALL SELECT 'notes', t::text FROM analyst.notes AS t ORDER BY 1, 2
"""
# Where the rows of a table lie: a row that is written anew lies elsewhere.
PLACES = "SELECT ctid::text, xmin::text FROM marts.{} ORDER BY 1"


# What dbt makes without facts.
DIMENSIONS = "key:marts/dim_*"


@pytest.fixture
def complete(late_marts: Lakehouse, tmp_path: Path, postgres_url_factory: Callable[..., str]) -> Iterator[Lakehouse]:
    """A lakehouse like `late_marts`, of a test's own."""
    with lakehouse_like(late_marts, tmp_path, postgres_url_factory) as made:
        yield made


@pytest.fixture
def role(late_marts: Lakehouse) -> str:
    """A role of the tests' server that may do nothing yet."""
    name = f"reader_{uuid4().hex}"
    _run(late_marts.shop_url, f"CREATE ROLE {name} LOGIN")
    return name


def _run(url: str, script: str) -> None:
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.executescript(script)
        connection.commit()


@pytest.fixture
def schemas_of_our_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Other schemas than the usual ones."""
    for name in ("lake", "staging", "marts"):
        monkeypatch.setenv(f"LAKEHOUSE_{name.upper()}_SCHEMA", f"shop_{name}")
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.mark.parametrize("select", [WAREHOUSE, "key:marts/dim_date", "key:marts/dim_payment_methods"])
def test_foreign_tables_under_our_names_end_a_run_before_writes(built: Lakehouse, select: str) -> None:
    _run(built.warehouse_url, OF_OTHERS)
    before = built.warehouse_rows(OBJECTS), built.warehouse_rows(CONTENT)
    result = built.run(*DATES, select=select)
    assert not result.success
    told = "\n".join(failures(result))
    for name in ("lake.orders (id, note)", "marts.dim_date (d, date_key, fiscal_period)", "marts.fct_orders"):
        assert name in told
    assert "Set LAKEHOUSE_LAKE_SCHEMA, LAKEHOUSE_MARTS_SCHEMA to schemas of the lakehouse's own" in told
    assert (built.warehouse_rows(OBJECTS), built.warehouse_rows(CONTENT)) == before


@pytest.mark.usefixtures("schemas_of_our_own")
@pytest.mark.long
def test_lakehouse_in_own_schemas_stands_beside_others(built: Lakehouse) -> None:
    _run(built.warehouse_url, OF_OTHERS)
    before = built.warehouse_rows(OBJECTS), built.warehouse_rows(CONTENT)
    result = built.run(*DATES, select=WAREHOUSE)
    assert failures(result) == []
    assert (built.warehouse_rows(OBJECTS), built.warehouse_rows(CONTENT)) == before
    assert built.warehouse_rows("SELECT count(*) > 0 FROM shop_marts.fct_order_lines") == [(True,)]
    schemas = "SELECT DISTINCT schema_name FROM shop_lake.lakehouse_objects ORDER BY 1"
    assert built.warehouse_rows(schemas) == [("shop_lake",), ("shop_marts",), ("shop_staging",)]
    # Assets are called as ever.
    keys = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key}
    assert "marts/fct_orders" in keys


def test_every_created_object_is_recorded(complete: Lakehouse) -> None:
    made = complete.warehouse_rows(
        "SELECT c.relnamespace::regnamespace::text, c.relname, c.oid::bigint FROM pg_class AS c "
        "WHERE c.relnamespace::regnamespace::text IN ('marts', 'lake', 'staging') AND c.relkind IN ('r', 'v') "
        f"AND c.relname <> '{OWNED}' ORDER BY 1, 2"
    )
    written = complete.warehouse_rows(
        f"SELECT schema_name, object_name, object_id::bigint FROM lake.{OWNED} "
        "WHERE object_name NOT LIKE '%_beside' ORDER BY 1, 2"
    )
    assert made == written
    assert {f"marts/{name}" for name in MARTS} <= {f"{schema}/{name}" for schema, name, _ in made}


def test_foreign_table_in_place_of_ours_is_not_touched(complete: Lakehouse) -> None:
    # Of the same name and the same columns: the server knows it by another number.
    _run(
        complete.warehouse_url,
        "ALTER TABLE marts.fct_orders RENAME TO fct_orders_of_before; "
        "CREATE TABLE marts.fct_orders AS TABLE marts.fct_orders_of_before",
    )
    before = complete.warehouse_rows("SELECT ctid::text, t::text FROM marts.fct_orders AS t ORDER BY 1")
    told = "\n".join(failures(complete.run(*DATES, select=WAREHOUSE)))
    assert "under names that it uses: marts.fct_orders (" in told
    assert "drop the table lake.lakehouse_objects" in told
    assert complete.warehouse_rows("SELECT ctid::text, t::text FROM marts.fct_orders AS t ORDER BY 1") == before


@pytest.mark.long
def test_warehouse_of_an_earlier_version_is_taken_over_once(
    complete: Lakehouse, caplog: pytest.LogCaptureFixture
) -> None:
    standing = complete.warehouse_rows(
        f"SELECT * FROM lake.{OWNED} WHERE object_name NOT LIKE '%_beside' ORDER BY 1, 2"
    )
    # An earlier version wrote nothing down; dbt swapped tables.
    _run(complete.warehouse_url, f"DROP TABLE lake.{OWNED}")
    assert failures(complete.run(*DATES, select=WAREHOUSE)) == []
    assert complete.warehouse_rows(f"SELECT * FROM lake.{OWNED} ORDER BY 1, 2") == standing
    (said,) = [record.getMessage() for record in caplog.records if "Took over" in record.getMessage()]
    assert "marts.fct_orders" in said
    caplog.clear()
    assert failures(complete.run(*DATES, select=WAREHOUSE)) == []
    assert "Took over" not in caplog.text


@pytest.mark.parametrize(
    "theirs",
    [
        "ALTER TABLE marts.dim_products ADD COLUMN rating integer",
        "DROP TABLE lake.payments CASCADE; CREATE TABLE lake.payments (payment_id text, order_date date)",
        "DROP TABLE lake.loaded; CREATE UNLOGGED TABLE lake.loaded (what text)",
        "DROP VIEW staging.stg_lake__orders; CREATE VIEW staging.stg_lake__orders AS SELECT 1 AS order_id",
    ],
)
def test_foreign_looking_table_is_not_taken_over(complete: Lakehouse, theirs: str) -> None:
    _run(complete.warehouse_url, f"DROP TABLE lake.{OWNED}; {theirs}")
    before = complete.warehouse_rows(OBJECTS)
    told = "\n".join(failures(complete.run(*DATES, select=WAREHOUSE)))
    assert "tables or views that the lakehouse did not make" in told
    assert complete.warehouse_rows(OBJECTS) == before


VIEWS = """
    CREATE SCHEMA analyst;
    CREATE VIEW analyst.customers AS SELECT customer_id, city FROM marts.dim_customers WHERE is_current;
    CREATE VIEW analyst.revenue AS SELECT date_id, sum(total_price) AS revenue FROM marts.fct_orders GROUP BY date_id;
    CREATE VIEW analyst.staged AS SELECT order_id FROM staging.stg_lake__orders;
    CREATE VIEW analyst.copied AS SELECT order_id FROM lake.orders;
"""


def test_views_and_grants_stay_and_different_rows_are_replaced(complete: Lakehouse, role: str) -> None:
    everything = "SELECT ON ALL TABLES IN SCHEMA marts, staging, lake"
    _run(
        complete.warehouse_url,
        f"{VIEWS}; GRANT {everything} TO {role}; GRANT SELECT (city) ON marts.dim_customers TO PUBLIC",
    )
    objects = complete.warehouse_rows(OBJECTS)
    before = {mart: complete.warehouse_rows(PLACES.format(mart)) for mart in MARTS if mart.startswith("dim")}
    # Nothing differs: nothing is written.
    assert failures(complete.run(*DATES, select=WAREHOUSE)) == []
    assert complete.warehouse_rows(OBJECTS) == objects
    assert {mart: complete.warehouse_rows(PLACES.format(mart)) for mart in before} == before
    # One that is gone, one that differs, one that is new.
    _run(
        complete.warehouse_url,
        "UPDATE marts.dim_products SET product_name = 'another' WHERE product_key = "
        "(SELECT max(product_key) FROM marts.dim_products); "
        "DELETE FROM marts.dim_payment_methods WHERE method = 'voucher'; "
        "INSERT INTO marts.dim_payment_methods VALUES ('nobody', 'nothing')",
    )
    assert failures(complete.run(*DATES, select=WAREHOUSE)) == []
    assert complete.wrong_marts() == {}
    assert complete.warehouse_rows(OBJECTS) == objects
    unchanged = (
        complete.warehouse_rows(PLACES.format("dim_customers")),
        complete.warehouse_rows(PLACES.format("dim_date")),
    )
    assert unchanged == (before["dim_customers"], before["dim_date"])
    products = complete.warehouse_rows(PLACES.format("dim_products"))
    assert len(set(products) - set(before["dim_products"])) == 1


@pytest.mark.long
def test_dimension_is_computed_once_it_is_its_turn(complete: Lakehouse) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE relation = 'marts.dim_products'::regclass AND NOT granted"
    with dbapi.connect(complete.warehouse_url) as other, other.cursor() as cursor, ThreadPoolExecutor(1) as thread:
        # As the build of a run that was killed: its session works on for a while.
        cursor.execute("LOCK TABLE marts.dim_products IN SHARE ROW EXCLUSIVE MODE")
        build = thread.submit(complete.run, *DATES, select=DIMENSIONS)
        until = time.monotonic() + 60
        while complete.warehouse_rows(waiting) == [(0,)] and time.monotonic() < until and not build.done():
            time.sleep(0.1)
        assert not build.done()
        _run(complete.warehouse_url, "UPDATE lake.products SET product_name = 'newer'")
        other.rollback()
        assert failures(build.result()) == []
    names = "SELECT DISTINCT product_name FROM marts.dim_products WHERE NOT is_inferred AND product_id IS NOT NULL"
    assert complete.warehouse_rows(names) == [("newer",)]


@pytest.mark.thorough
def test_configured_reader_may_read_the_marts_and_nothing_else(
    built: Lakehouse, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_READERS", f"{role}, nobody_of_that_name")
    settings.cache_clear()
    told = "\n".join(failures(built.run(*DATES, select=WAREHOUSE)))
    assert "LAKEHOUSE_READERS names nobody_of_that_name, and the warehouse has no such role" in told
    monkeypatch.setenv("LAKEHOUSE_READERS", role)
    settings.cache_clear()
    assert failures(built.run(*DATES, select=WAREHOUSE)) == []
    may_read = built.warehouse_rows(
        "SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.relkind IN ('r', 'v') "
        f"AND has_table_privilege('{role}', c.oid, 'SELECT') "
        "AND c.relnamespace::regnamespace::text IN ('marts', 'lake', 'staging') ORDER BY 1"
    )
    assert may_read == [(f"marts.{name}",) for name in sorted(MARTS)]
    _run(built.warehouse_url, f"SET ROLE {role}; SELECT count(*) FROM marts.fct_orders")


@pytest.mark.long
def test_dimension_follows_its_columns_where_no_view_depends(complete: Lakehouse) -> None:
    _run(
        complete.warehouse_url,
        f"{VIEWS}; ALTER TABLE marts.dim_products ADD COLUMN of_before text; "
        "ALTER TABLE marts.dim_date DROP COLUMN year_week; "
        "ALTER TABLE marts.dim_products ALTER unit_price TYPE numeric(38, 8)",
    )
    views = "SELECT oid::bigint FROM pg_class WHERE relnamespace = 'analyst'::regnamespace ORDER BY 1"
    before = complete.warehouse_rows(views)
    assert failures(complete.run(*DATES, select=DIMENSIONS)) == []
    assert complete.wrong_marts() == {}
    assert complete.warehouse_rows(views) == before
    # What somebody's view shows is not taken away.
    _run(
        complete.warehouse_url,
        "ALTER TABLE marts.dim_products ADD COLUMN of_before text; "
        "CREATE VIEW analyst.of_before AS SELECT of_before FROM marts.dim_products",
    )
    told = "\n".join(failures(complete.run(*DATES, select=DIMENSIONS)))
    assert "view analyst.of_before depends on column of_before" in told
    assert len(complete.warehouse_rows(views)) == len(before) + 1


@pytest.mark.thorough
def test_copy_to_be_recreated_is_not_taken_from_under_a_view(complete: Lakehouse) -> None:
    _run(complete.warehouse_url, f"{VIEWS}; ALTER TABLE lake.orders ADD COLUMN of_before text")
    before = complete.warehouse_rows(OBJECTS)
    told = "\n".join(failures(complete.run(*DATES, select=WAREHOUSE)))
    assert "lake.orders has to be created again" in told
    assert "analyst.copied, analyst.staged of others depends on it" in told
    assert complete.warehouse_rows(OBJECTS) == before
    _run(complete.warehouse_url, "DROP VIEW analyst.copied, analyst.staged")
    assert failures(complete.run(*DATES, select=WAREHOUSE)) == []
    assert complete.wrong_marts() == {}


def test_user_with_documented_rights_builds_the_warehouse(
    built: Lakehouse, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = built.warehouse_url.replace("//postgres@", f"//{role}@")
    database = built.warehouse_rows("SELECT current_database()")[0][0]
    nothing = f"REVOKE ALL ON DATABASE {database} FROM PUBLIC; GRANT CONNECT ON DATABASE {database} TO {role}"
    _run(built.warehouse_url, nothing)
    monkeypatch.setenv("WAREHOUSE_DATABASE_URL", url)
    settings.cache_clear()
    told = "\n".join(failures(built.run(*DATES, select=WAREHOUSE)))
    assert f"CREATE SCHEMA lake AUTHORIZATION {role}" in told
    _, _, rights = LOADER_SCRIPT.partition(";")
    of_role = re.sub(rf"\b{LOADER};", f"{role};", rights)
    _run(built.warehouse_url, of_role.replace(f"DATABASE {DATABASE}", f"DATABASE {database}"))
    assert failures(built.run(*DATES, select=WAREHOUSE)) == []
    assert built.wrong_marts() == {}
    with connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT has_database_privilege(current_database(), 'CREATE'), current_user")
        assert cursor.fetchone() == (False, role)
