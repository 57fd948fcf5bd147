"""Objects of others in the databases of the shop and the warehouse."""

from pathlib import Path

from orders_lakehouse.sample_shop.complete_journey import CompleteJourney
from orders_lakehouse.sample_shop.sample import build_shop, load_sample_shop
from tests.support.reader import LOADER, LOADER_SCRIPT, make_reader, run

_IN_SHOP = """
    CREATE ROLE shopkeeper LOGIN;
    ALTER TABLE shop.customers ADD COLUMN password_hash text DEFAULT 'not yours';
    CREATE TABLE shop.suppliers (supplier_id integer PRIMARY KEY, iban text);
    INSERT INTO shop.suppliers SELECT n, 'DE' || n FROM generate_series(1, 100) AS n;
    ALTER TABLE shop.suppliers OWNER TO shopkeeper;
    COMMENT ON TABLE shop.suppliers IS 'whom we owe';
    REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC;
"""
_IN_WAREHOUSE = """
    CREATE ROLE controlling LOGIN;
    CREATE ROLE analyst LOGIN;
    CREATE SCHEMA finance AUTHORIZATION controlling;
    SET ROLE controlling;
    CREATE SEQUENCE finance.booking_numbers START 1000;
    CREATE TABLE finance.bookings (
        booking_id bigint PRIMARY KEY DEFAULT nextval('finance.booking_numbers'), booked_on date NOT NULL,
        amount numeric(12, 2), note text
    );
    INSERT INTO finance.bookings (booked_on, amount, note)
    SELECT date '2017-01-01' + n % 365, n * 1.01, 'No. ' || n FROM generate_series(1, 5000) AS n;
    CREATE INDEX bookings_by_date ON finance.bookings (booked_on) INCLUDE (amount);
    COMMENT ON TABLE finance.bookings IS 'what was booked';
    COMMENT ON COLUMN finance.bookings.amount IS 'in euros';
    CREATE FUNCTION finance.in_thousands(amount numeric) RETURNS numeric LANGUAGE sql IMMUTABLE
    RETURN round(amount / 1000, 1);
    COMMENT ON FUNCTION finance.in_thousands(numeric) IS 'as the board likes it';
    GRANT USAGE ON SCHEMA finance TO analyst;
    GRANT SELECT ON finance.bookings TO analyst;
    RESET ROLE;
    CREATE TABLE public.rates (currency text, valid_on date, rate numeric);
    INSERT INTO public.rates SELECT 'USD', date '2017-01-01' + n, 1 + n / 1000.0 FROM generate_series(0, 364) AS n;
    CREATE TABLE public.dim_customers (customer_key text, segment text);
    INSERT INTO public.dim_customers VALUES ('theirs', 'A');
    CREATE VIEW public.latest_rates AS
    SELECT DISTINCT ON (currency) * FROM public.rates ORDER BY currency, valid_on DESC;
    ALTER TABLE public.rates OWNER TO controlling;
    GRANT SELECT ON public.latest_rates TO analyst;
"""
_IN_MARTS = """
    CREATE TABLE marts.budget (month date PRIMARY KEY, amount numeric);
    INSERT INTO marts.budget VALUES ('2017-01-01', 1000), ('2017-02-01', 1100);
    ALTER TABLE marts.budget OWNER TO controlling;
    GRANT SELECT ON marts.budget TO analyst;
"""
# Views and grants of others on tables of the lakehouse, which the first run creates.
ON_MARTS = """
    GRANT USAGE ON SCHEMA marts TO analyst, controlling;
    GRANT SELECT ON marts.fct_orders, marts.dim_customers TO analyst, controlling;
    GRANT SELECT (category, product_name) ON marts.dim_products TO PUBLIC;
    CREATE SCHEMA bi AUTHORIZATION controlling;
    SET ROLE controlling;
    CREATE VIEW bi.revenue_by_city AS
    SELECT city, sum(total_price) AS revenue, count(*) AS orders
    FROM marts.fct_orders INNER JOIN marts.dim_customers USING (customer_key) GROUP BY city;
    CREATE MATERIALIZED VIEW bi.customers AS
    SELECT customer_id, count(order_id) AS orders, sum(total_price) AS spend
    FROM marts.dim_customers LEFT JOIN marts.fct_orders USING (customer_key) GROUP BY customer_id;
    CREATE INDEX customers_by_spend ON bi.customers (spend);
    COMMENT ON VIEW bi.revenue_by_city IS 'on the wall of the office';
    GRANT USAGE ON SCHEMA bi TO analyst;
    GRANT SELECT ON bi.revenue_by_city TO analyst;
"""


def make_shop(url: str, journey: CompleteJourney, folder: Path) -> None:
    """Load a sample shop with an extra table and column, and create the documented user."""
    load_sample_shop(url, shop=build_shop(journey))
    run(url, _IN_SHOP)
    make_reader(url, folder)


def make_warehouse(url: str) -> None:
    """Fill a warehouse with tables of others, and create the documented user."""
    run(url, _IN_WAREHOUSE)
    # By default, everybody may connect and use temporary tables.
    run(url, f"REVOKE ALL ON DATABASE {{database}} FROM PUBLIC; {LOADER_SCRIPT}")
    run(url, f"GRANT CONNECT ON DATABASE {{database}} TO {LOADER}; {_IN_MARTS}")
