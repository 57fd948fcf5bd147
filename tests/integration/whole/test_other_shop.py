"""Another shop than the sample, as its owner would run it: own Postgres, own names behind views, own time zone."""

from collections.abc import Callable
from pathlib import Path

import pytest
from adbc_driver_postgresql import dbapi

from tests.support.lakehouse import rows_of
from tests.support.oracle import Oracle
from tests.support.terminal import command_line

pytestmark = pytest.mark.slow

SHOP = r"""
CREATE SCHEMA erp;
CREATE TYPE erp.order_state AS ENUM ('placed', 'paid', 'shipped', 'delivered', 'cancelled', 'returned', 'draft');

CREATE TABLE erp.client (
    id integer PRIMARY KEY, name varchar(80), mail varchar(200), born date, joined timestamptz, street text, town text,
    region text, zip char(8), country char(2), changed timestamptz NOT NULL, gone timestamptz
);
CREATE TABLE erp.article (
    sku varchar(40) PRIMARY KEY, title text, kind text, maker text, price integer, money char(3),
    changed timestamptz NOT NULL, gone timestamptz
);
CREATE TABLE erp.sale (
    id uuid PRIMARY KEY, client integer, at timestamptz, state erp.order_state, money varchar(5), sent timestamptz,
    came timestamptz, changed timestamptz NOT NULL, gone timestamptz
);
CREATE TABLE erp.sale_line (
    sale uuid, no smallint, sku varchar(40), pieces integer, price numeric, rebate numeric(9, 2),
    changed timestamptz NOT NULL, gone timestamptz, PRIMARY KEY (sale, no)
);
CREATE TABLE erp.payment (
    id bigint PRIMARY KEY, sale uuid, how text, amount numeric(10, 2), money text, state text, at timestamptz,
    changed timestamptz NOT NULL, gone timestamptz
);

CREATE SCHEMA shop;
CREATE VIEW shop.customers AS SELECT
    id AS customer_id, name AS full_name, mail AS email, born AS date_of_birth, joined AS registered_at,
    street AS address, town AS city, region AS state, zip AS postal_code, country AS country_code,
    changed AS updated_at, gone AS deleted_at
FROM erp.client;
CREATE VIEW shop.products AS SELECT
    sku AS product_id, title AS product_name, kind AS category, maker AS manufacturer, price AS unit_price,
    money AS currency, changed AS updated_at, gone AS deleted_at
FROM erp.article;
CREATE VIEW shop.orders AS SELECT
    id AS order_id, client AS customer_id, at AS ordered_at, state AS status, money AS currency, sent AS shipped_at,
    came AS delivered_at, changed AS updated_at, gone AS deleted_at, 'not for the lake' AS remark
FROM erp.sale;
CREATE VIEW shop.order_items AS SELECT
    sale AS order_id, no AS line_number, sku AS product_id, pieces AS quantity, price AS unit_price,
    rebate AS discount, changed AS updated_at, gone AS deleted_at
FROM erp.sale_line;
CREATE VIEW shop.payments AS SELECT
    id AS payment_id, sale AS order_id, how AS method, amount, money AS currency, state AS status, at AS paid_at,
    changed AS updated_at, gone AS deleted_at
FROM erp.payment;

INSERT INTO erp.client VALUES
  (1, E'  Zoë "Zo" O''Hara\n', 'ZOE@BÜCHER.example', '1970-02-28', '2019-06-01 02:00+00', 'Rua 1, \ap. 2', 'São Paulo',
   'SP', '01310', 'br', '2020-05-05', null),
  (2, '日本 太郎', '', null, '2023-03-02 04:59+00', null, E'\t', null, '100-0001', 'JP', '2023-03-02 04:59+00', null),
  (3, 'Nowhere', null, null, null, null, null, null, null, 'XX', '2021-01-01', null),
  (4, 'Since ever', null, null, '1066-10-14 04:57+00', null, null, null, null, 'US', '2022-01-01', null),
  (5, 'Left', 'left@example.com', null, null, null, null, null, null, 'US', '2023-03-04 12:00+00',
   '2023-03-04 12:00+00');
INSERT INTO erp.article VALUES
  ('O''Hara; DROP', 'Mug; "large"', 'Küche', null, 1200, 'JPY', '2018-01-01', null),
  ('a/b=c%20', 'Grinder', null, 'Möller & Söhne', 0, 'KWD', '2023-03-03 12:00+00', null),
  ('cheap', 'Negative', null, null, -1, 'USD', '2022-01-01', null);
INSERT INTO erp.sale VALUES
  -- The last moment before the first date, the first one of it, and the same around a later midnight in New York.
  ('00000000-0000-0000-0000-000000000001', 1, '2023-03-01 04:59:59.999999+00', 'paid', 'BRL', null, null,
   '2023-03-01 12:00+00', null),
  ('00000000-0000-0000-0000-000000000002', 1, '2023-03-01 05:00+00', 'paid', 'BRL', null, null,
   '2023-03-01 12:00+00', null),
  ('00000000-0000-0000-0000-000000000003', 2, '2023-03-05 04:59:59.999999+00', 'shipped', ' jpy ',
   '2023-03-06 05:00+00', null, '2023-03-06 05:00+00', null),
  ('00000000-0000-0000-0000-000000000004', 2, '2023-03-05 05:00+00', 'delivered', 'JPY', '2023-03-06 05:00+00',
   '2023-03-07 05:30+00', '2023-03-07 05:30+00', null),
  -- Clocks go forward on 2023-03-12: the day ends at 04:00 UTC, and begins at 05:00.
  ('00000000-0000-0000-0000-000000000005', null, '2023-03-12 04:59:59+00', 'paid', 'USD', null, null,
   '2023-03-12 05:00+00', null),
  ('00000000-0000-0000-0000-000000000006', null, '2023-03-13 03:59:59+00', 'paid', 'USD', null, null,
   '2023-03-13 04:00+00', null),
  ('00000000-0000-0000-0000-000000000007', 3, '2023-03-13 04:00+00', 'paid', 'USD', null, null,
   '2023-03-13 04:00+00', null),
  -- Of before the start date: changed since, and not.
  ('00000000-0000-0000-0000-000000000008', 4, '2023-02-20 12:00+00', 'returned', 'USD', null, null,
   '2023-03-06 12:00+00', null),
  ('00000000-0000-0000-0000-000000000009', 4, '2022-02-20 12:00+00', 'delivered', 'USD', null, null,
   '2022-03-06 12:00+00', null),
  ('00000000-0000-0000-0000-00000000000a', 5, '2023-03-06 12:00+00', 'draft', 'USD', null, null,
   '2023-03-06 12:00+00', null),
  ('00000000-0000-0000-0000-00000000000b', 99, '2023-03-06 13:00+00', 'cancelled', 'KWD', null, null,
   '2023-03-06 13:00+00', null),
  ('00000000-0000-0000-0000-00000000000c', 4, '-infinity', 'paid', 'USD', null, null, '2023-03-06 13:00+00', null),
  ('00000000-0000-0000-0000-00000000000d', 4, 'infinity', 'paid', 'USD', null, null, '2023-03-06 13:00+00', null);
INSERT INTO erp.sale_line
SELECT id, 1, 'O''Hara; DROP', 2, 1200.5, null, changed, null FROM erp.sale;
INSERT INTO erp.sale_line
SELECT id, 2, 'a/b=c%20', 3, 33.33335 - 0.00005, 0.01, changed, null FROM erp.sale;
INSERT INTO erp.sale_line
SELECT id, 3, 'cheap', -1, 1, null, changed, null FROM erp.sale;
INSERT INTO erp.sale_line
SELECT id, 4, 'never heard of', 1, 0, 0, changed, null FROM erp.sale;
INSERT INTO erp.payment
SELECT row_number() OVER (ORDER BY id), id, 'paypal', 50, money, 'captured', at, changed, null FROM erp.sale;
INSERT INTO erp.payment
SELECT 100 + row_number() OVER (ORDER BY id), id, 'card', 50, 'EUR', 'captured', at, changed, null FROM erp.sale;
"""


@pytest.mark.long
def test_shop_of_integers_and_uuids_behind_views_in_new_york(
    tmp_path: Path, postgres_url_factory: Callable[[str], str]
) -> None:
    shop, warehouse = postgres_url_factory("erp"), postgres_url_factory("dwh")
    with dbapi.connect(shop) as connection, connection.cursor() as cursor:
        cursor.executescript(SHOP)
        connection.commit()
    oracle = Oracle(shop)
    oracle.install("America/New_York", "2023-03-01")
    oracle.look()

    done = command_line(
        ["backfill", "2023-03-01", "2023-03-14"],
        SHOP_DATABASE_URL=shop,
        WAREHOUSE_DATABASE_URL=warehouse,
        LAKEHOUSE_HOME=str(tmp_path / "elsewhere"),
        LAKEHOUSE_START_DATE="2023-03-01",
        LAKEHOUSE_TIMEZONE="America/New_York",
        LAKEHOUSE_HOLIDAYS_COUNTRY="jp",
    )

    assert done.returncode == 0, done.stderr
    assert oracle.differences(lambda query: rows_of(warehouse, query)) == {}
    orders = rows_of(warehouse, "SELECT right(order_id, 1), date_id FROM marts.fct_orders ORDER BY 1")
    assert orders == [
        ("2", 20230301),
        ("3", 20230304),
        ("4", 20230305),
        ("5", 20230311),
        ("6", 20230312),
        ("7", 20230313),
        ("b", 20230306),
    ]
    holidays = "SELECT holiday_name FROM marts.dim_date WHERE date_id = 20230321"
    assert rows_of(warehouse, holidays) == [("Vernal Equinox Day",)]
    # Both databases are given, so no embedded server was started.
    assert not (tmp_path / "elsewhere" / "postgres").exists()
