"""Tables of the shop that are shaped otherwise, or do not fit."""

import pytest

from orders_lakehouse.contracts.raw import LINEAGE
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.entities.base import Entity
from orders_lakehouse.entities.customers import RAW_CUSTOMERS
from orders_lakehouse.entities.order_items import RAW_ORDER_ITEMS
from orders_lakehouse.entities.orders import RAW_ORDERS
from orders_lakehouse.entities.payments import RAW_PAYMENTS
from orders_lakehouse.entities.products import RAW_PRODUCTS
from orders_lakehouse.entities.registry import ENTITIES
from orders_lakehouse.postgres.connections import DatabaseError
from tests.support.postgres_source import DAY, Shop, read

pytestmark = pytest.mark.usefixtures("clean_settings")


class TestOtherShapes:
    @pytest.mark.parametrize(
        ("key", "value", "expected"),
        [
            ("bigint", "9223372036854775807", "9223372036854775807"),
            ("integer", "7", "7"),
            ("smallint", "-1", "-1"),
            ("numeric", "12.50", "12.50"),
            ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            ("varchar(20)", "'k '", "k "),
            ("mood", "'fine'", "fine"),
        ],
    )
    def test_keys_of_other_types_come_as_text_through_a_view(
        self, shop: Shop, key: str, value: str, expected: str
    ) -> None:
        shop.run(f"""
            CREATE TYPE mood AS ENUM ('fine');
            ALTER TABLE shop.products RENAME TO old_products;
            CREATE VIEW shop.products AS
              SELECT {value}::{key} AS product_id, product_name, category, manufacturer,
                     7::smallint AS unit_price, currency, timestamptz '2020-03-02' AS updated_at,
                     deleted_at, 'surplus' AS surplus
              FROM (SELECT 1) AS one LEFT JOIN shop.old_products ON true
        """)
        frame = read(RAW_PRODUCTS, DAY)
        assert frame.select("product_id", "unit_price").rows() == [(expected, "7")]
        assert "surplus" not in frame.columns

    @pytest.mark.parametrize("entity", [entity for entity in ENTITIES if entity.is_optional], ids=lambda of: of.name)
    def test_optional_table_that_is_missing_has_no_rows(self, shop: Shop, entity: Entity) -> None:
        shop.run(f"DROP TABLE shop.{entity.name}")
        assert read(entity.raw, DAY).is_empty()

    @pytest.mark.parametrize(
        "table", [entity.raw for entity in ENTITIES if not entity.is_optional], ids=lambda table: table.name
    )
    def test_missing_table_is_named_with_its_expected_columns(self, shop: Shop, table: Table) -> None:
        shop.run(f"DROP TABLE shop.{table.name}")
        with pytest.raises(DatabaseError) as raised:
            read(table, DAY)
        message = str(raised.value)
        assert f"the shop has no table shop.{table.name}" in message
        assert "SHOP_DATABASE_URL" in message
        for name in set(table.columns) - set(LINEAGE):
            assert name in message

    def test_column_that_is_not_there_is_named(self, shop: Shop) -> None:
        shop.run("ALTER TABLE shop.orders DROP COLUMN ordered_at")
        with pytest.raises(DatabaseError) as raised:
            read(RAW_ORDERS, DAY)
        message = str(raised.value)
        assert "shop.orders" in message
        assert "column ordered_at: expected timestamptz" in message
        assert "found no such column" in message
        assert "make a view" in message

    @pytest.mark.parametrize(
        ("table", "column", "dtype", "expected"),
        [
            (RAW_ORDERS, "ordered_at", "timestamp", "expected timestamptz (a timestamp without a zone has no instant)"),
            (RAW_ORDERS, "updated_at", "date", "expected timestamptz"),
            (RAW_ORDERS, "order_id", "bytea", "expected text"),
            (RAW_ORDERS, "status", "text[]", "expected text"),
            (RAW_ORDERS, "status", "boolean", "expected text"),
            (RAW_ORDER_ITEMS, "unit_price", "double precision", "expected numeric"),
            (RAW_ORDER_ITEMS, "discount", "text", "expected numeric"),
            (RAW_ORDER_ITEMS, "quantity", "double precision", "expected numeric or an integer type"),
            (RAW_ORDER_ITEMS, "line_number", "numeric", "expected integer"),
            (RAW_CUSTOMERS, "date_of_birth", "timestamptz", "expected date"),
            (RAW_PAYMENTS, "amount", "money", "expected numeric"),
        ],
        ids=lambda value: value if isinstance(value, str) else getattr(value, "name", None),
    )
    def test_column_of_wrong_type_is_named_with_both_types(
        self, shop: Shop, table: Table, column: str, dtype: str, expected: str
    ) -> None:
        shop.run(f"""
            ALTER TABLE shop.{table.name} DROP COLUMN {column} CASCADE;
            ALTER TABLE shop.{table.name} ADD COLUMN {column} {dtype};
        """)
        with pytest.raises(DatabaseError) as raised:
            read(table, DAY)
        message = str(raised.value)
        assert f"shop.{table.name} does not have the columns" in message
        assert f"column {column}: {expected}" in message
        found = {"timestamp": "timestamp without time zone", "timestamptz": "timestamp with time zone"}
        assert f"found {'ARRAY' if dtype.endswith('[]') else found.get(dtype, dtype)}" in message

    def test_every_misfit_is_named_at_once(self, shop: Shop) -> None:
        shop.run("""
            ALTER TABLE shop.payments DROP COLUMN amount;
            ALTER TABLE shop.payments ALTER paid_at TYPE timestamp, ALTER method TYPE boolean USING null;
        """)
        with pytest.raises(DatabaseError, match=r"column method.*column amount.*column paid_at"):
            read(RAW_PAYMENTS, DAY)
