"""A dimension that is broken warns; facts are built with what is known of it, and heal once it is mended."""

import polars as pl
import pytest

from orders_lakehouse.pipeline.check_results import evaluations, latest
from tests.support.lakehouse import Lakehouse, failures

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("broken_dimensions"), pytest.mark.long]

MARTS = "group:marts"
# Customers and products that have bought on the first days, and their orders.
SHOP = """
INSERT INTO shop.customers (customer_id, full_name, updated_at)
    SELECT 'c' || n, 'Name ' || n, '2017-01-01' FROM generate_series(0, 24) AS n;
INSERT INTO shop.products
    SELECT 'p' || n, 'Thing ' || n, 'Ware', 'Maker', 3, 'EUR', '2017-01-01', null FROM generate_series(0, 24) AS n;
"""


def sold(order_id: str, customer: str, product: str, at: str) -> str:
    """An order of one line."""
    return f"""
        INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at)
            VALUES ('{order_id}', '{customer}', '{at}', 'paid', 'EUR', '{at}');
        INSERT INTO shop.order_items VALUES ('{order_id}', 1, '{product}', 1, 3, 0, '{at}', null);
    """


@pytest.fixture(scope="module")
def built(shared_lakehouse: Lakehouse) -> Lakehouse:
    shared_lakehouse.shop(SHOP + sold("o1", "c1", "p1", "2017-01-02 10:00+00"))
    shared_lakehouse.oracle.look()
    run(shared_lakehouse, "2017-01-01", "2017-01-02")
    assert shared_lakehouse.wrong_marts() == {}
    return shared_lakehouse


def run(lakehouse: Lakehouse, first: str, last: str | None = None, select: str | None = None) -> list[str]:
    """Run dates to their end; returns the checks that do not hold, all of which warn but that on losses."""
    result = lakehouse.run(first, last, select=select)
    assert result.success, failures(result)
    bad = evaluations(lakehouse.lake).filter(pl.col("run_id") == result.run_id, ~pl.col("passed"))
    assert set(bad.filter(pl.col("check_name") != "losses_are_few")["severity"]) <= {"WARN"}
    return sorted(f"{check} on {asset}" for check, asset in bad.select("check_name", "asset").unique().iter_rows())


def members(lakehouse: Lakehouse, order_id: str) -> tuple[str | None, str | None, bool, bool]:
    """Of an order of one line: the names of its customer and product, and whether either is inferred."""
    (row,) = lakehouse.warehouse_rows(f"""
        SELECT c.customer_name, p.product_name, c.is_inferred, p.is_inferred
        FROM marts.fct_order_lines AS line
        JOIN marts.fct_orders AS f USING (order_id, customer_key)
        JOIN marts.dim_customers AS c USING (customer_key) JOIN marts.dim_products AS p USING (product_key)
        WHERE order_id = '{order_id}' AND c.customer_id = line.customer_id AND p.product_id = line.product_id
    """)
    return row


def found(lakehouse: Lakehouse, asset: str, check: str) -> str:
    """What a check found that does not hold now."""
    rows = latest(lakehouse.lake, asset=asset, check_name=check).filter(~pl.col("passed"))
    return " ".join(rows["found"].unique())


def test_products_that_are_all_in_quarantine_are_inferred(built: Lakehouse) -> None:
    built.shop(
        "INSERT INTO shop.products SELECT 'q' || n, 'Thing', 'Ware', 'Maker', 3, 'EUR', '2017-01-03', null "
        "FROM generate_series(0, 24) AS n;" + sold("o3", "c3", "q3", "2017-01-03 10:00+00")
    )
    built.oracle.look()
    # A view whose join finds two rows for each: nothing says which of them counts.
    built.shop("""
        ALTER TABLE shop.products RENAME TO every_product;
        CREATE VIEW shop.products AS SELECT * FROM shop.every_product
            UNION ALL SELECT product_id, 'Other', category, manufacturer, unit_price, currency, updated_at, deleted_at
            FROM shop.every_product WHERE product_id LIKE 'q%'
    """)
    assert "rejected_share on cleansed/products" in run(built, "2017-01-03")
    assert members(built, "o3") == ("Name 3", None, False, True)

    built.shop(
        "DROP VIEW shop.products; ALTER TABLE shop.every_product RENAME TO products;"
        "UPDATE shop.products SET updated_at = '2017-01-04' WHERE product_id LIKE 'q%'"
    )
    built.oracle.look()
    run(built, "2017-01-04")
    assert members(built, "o3") == ("Name 3", "Thing", False, False)
    assert built.wrong_marts() == {}


def test_run_goes_on_without_a_captured_table_or_loaded_copy(built: Lakehouse) -> None:
    built.shop(
        "INSERT INTO shop.customers (customer_id, full_name, updated_at) VALUES ('c new', 'Newly', '2017-01-05');"
        "UPDATE shop.products SET product_name = 'Renamed', updated_at = '2017-01-05' WHERE product_id = 'p1';"
        "INSERT INTO shop.products VALUES ('p new', 'New', 'Bad', 'Maker', 3, 'EUR', '2017-01-05', null);"
        + sold("o5", "c new", "p new", "2017-01-05 10:00+00")
        + sold("o5 again", "c1", "p1", "2017-01-05 11:00+00")
    )
    built.oracle.look()
    built.shop("ALTER TABLE shop.customers RENAME customer_id TO number")
    built.warehouse("ALTER TABLE lake.products ADD CONSTRAINT of_others CHECK (category <> 'Bad')")
    broken = run(built, "2017-01-05")
    assert broken == ["gets_through on marts/dim_products", "raw_matches_source on raw/customers"]
    assert "column customer_id: expected text" in found(built, "raw/customers", "raw_matches_source")
    assert "of_others" in found(built, "marts/dim_products", "gets_through")
    assert members(built, "o5") == (None, None, True, True)
    # What is known of a member serves until the newer version has come through.
    assert members(built, "o5 again") == ("Name 1", "Thing 1", False, False)

    # A run that only captures fails, so that the sensor asks again.
    assert not built.run("2017-01-05", job="capture_changes_job").success
    built.shop("ALTER TABLE shop.customers RENAME number TO customer_id")
    built.warehouse("ALTER TABLE lake.products DROP CONSTRAINT of_others")
    assert run(built, "2017-01-04", select=MARTS) == []
    # Facts of a date that was not run have followed the product.
    assert members(built, "o5") == (None, "New", True, False)
    assert members(built, "o5 again") == ("Name 1", "Renamed", False, False)
    assert run(built, "2017-01-05", select="key:raw/customers or key:cleansed/customers") == []
    run(built, "2017-01-04", select=MARTS)
    assert members(built, "o5") == ("Newly", "New", False, False)
    assert built.wrong_marts() == {}


def test_unbuilt_dimension_keeps_members_and_gets_inferred_ones(built: Lakehouse) -> None:
    built.shop(
        "INSERT INTO shop.products VALUES ('p last', 'Last', 'Worse', 'Maker', 3, 'EUR', '2017-01-06', null);"
        + sold("o6", "c6", "p last", "2017-01-06 10:00+00")
    )
    built.oracle.look()
    # The one stands and refuses a row; the other has gone, and a view of others keeps its copy without a column.
    built.warehouse("""
        ALTER TABLE marts.dim_products ADD CONSTRAINT of_others CHECK (category <> 'Worse');
        DROP TABLE marts.dim_customers;
        DROP VIEW staging.stg_lake__customers;
        ALTER TABLE lake.customers DROP COLUMN city;
        CREATE VIEW public.theirs AS SELECT customer_id FROM lake.customers;
    """)
    assert run(built, "2017-01-06") == [
        "gets_through on marts/dim_customers",
        "gets_through on marts/dim_products",
    ]
    assert "theirs" in found(built, "marts/dim_customers", "gets_through")
    assert members(built, "o6") == (None, None, True, True)
    # Facts of other dates have members, too.
    assert members(built, "o1") == (None, "Thing 1", True, False)

    built.warehouse("DROP VIEW public.theirs; ALTER TABLE marts.dim_products DROP CONSTRAINT of_others")
    assert run(built, "2017-01-04", select=MARTS) == []
    assert members(built, "o6") == ("Name 6", "Last", False, False)
    assert built.wrong_marts() == {}


def test_broken_fact_inputs_still_stop_facts(built: Lakehouse) -> None:
    built.warehouse("ALTER TABLE lake.orders ADD CONSTRAINT of_others CHECK (order_id <> 'o7')")
    built.shop(sold("o7", "c7", "p7", "2017-01-07 10:00+00"))
    result = built.run("2017-01-07")
    built.warehouse("ALTER TABLE lake.orders DROP CONSTRAINT of_others")
    assert not result.success
    assert built.warehouse_rows("SELECT 1 FROM marts.fct_orders WHERE order_id = 'o7'") == []
