"""Every row that breaks a rule leaves quarantine once the shop has corrected it; the accounts balance throughout."""

import pytest

from orders_lakehouse.pipeline.row_accounting import accounts
from orders_lakehouse.sample_shop.edge_cases import edge_cases
from orders_lakehouse.tables import CLEANSED, DIMENSIONS, QUARANTINE_OF, RAW_OF
from tests.support.edge_cases import EXACT, FIRST, LAST, REJECTED
from tests.support.lakehouse import Lakehouse, failures

pytestmark = [pytest.mark.slow, pytest.mark.either_engine]

# What a clock ahead of its time is captured as depends on the day.
AHEAD = {"later", "o2 / 13", "o1 / s1 / 2"}
TODAY = "; ".join(f"DELETE FROM shop.{table} WHERE updated_at > now()" for table in RAW_OF)
# Everything is as it should be. A row without a key is deleted: another key would be another row.
CORRECTIONS = """
UPDATE shop.customers SET email = 'right@example.org', country_code = 'DE', registered_at = '2016-12-01',
    date_of_birth = '1990-01-01', updated_at = '2017-01-09 12:00+00';
UPDATE shop.products SET unit_price = 1, currency = 'EUR', updated_at = '2017-01-09 12:00+00';
UPDATE shop.orders SET ordered_at = '2017-01-04 10:00+00', status = 'paid', currency = 'EUR',
    updated_at = '2017-01-09 12:00+00' WHERE deleted_at IS NULL;
INSERT INTO shop.orders VALUES
    ('no such order', 'c1', '2017-01-07 09:00+00', 'paid', 'EUR', null, null, '2017-01-09 12:00+00', null);
UPDATE shop.order_items SET product_id = 'p1', quantity = 1, unit_price = 1, discount = 0,
    updated_at = '2017-01-09 12:00+00';
UPDATE shop.payments SET order_id = coalesce(order_id, 'o1'), method = 'card', amount = 1, currency = 'EUR',
    status = 'captured', updated_at = '2017-01-09 12:00+00';
UPDATE shop.warehouses SET country_code = 'DE', updated_at = '2017-01-09 12:00+00';
UPDATE shop.shipments SET order_id = coalesce(order_id, 'o1'), status = 'shipped', cost = 1, currency = 'EUR',
    shipped_at = null, delivered_at = null, updated_at = '2017-01-09 12:00+00';
UPDATE shop.shipment_items SET quantity = 1, updated_at = '2017-01-09 12:00+00';
UPDATE shop.customers SET deleted_at = updated_at WHERE btrim(customer_id) = '';
UPDATE shop.products SET deleted_at = updated_at WHERE btrim(product_id, E' \\t') = '';
UPDATE shop.orders SET deleted_at = updated_at WHERE btrim(order_id) = '';
UPDATE shop.payments SET deleted_at = updated_at WHERE btrim(payment_id) = '';
UPDATE shop.warehouses SET deleted_at = updated_at WHERE btrim(code, E' \\t') = '';
UPDATE shop.shipments SET deleted_at = updated_at WHERE btrim(shipment_id) = '';
UPDATE shop.shipment_items SET deleted_at = updated_at WHERE btrim(shipment_id) = '';
"""


def run(lakehouse: Lakehouse) -> None:
    result = lakehouse.run(FIRST, LAST, select="group:raw or group:cleansed")
    assert result.success, failures(result)
    assert [accounts(lakehouse.lake, table).missing for table in CLEANSED] == [0] * len(CLEANSED)


@pytest.mark.long
def test_corrected_rows_leave_quarantine(lakehouse: Lakehouse) -> None:
    lakehouse.shop(edge_cases())
    lakehouse.shop(EXACT)
    lakehouse.shop(TODAY)
    run(lakehouse)
    for table in CLEANSED:
        assert lakehouse.lake_rows(QUARANTINE_OF[table.name]).height == len(REJECTED[table].keys() - AHEAD)

    lakehouse.shop(CORRECTIONS)
    run(lakehouse)
    for table in CLEANSED:
        rejected = lakehouse.lake_rows(QUARANTINE_OF[table.name])
        if table in DIMENSIONS:
            # Of a dimension every version stands: the one that was wrong stays rejected, the new one is valid.
            assert rejected.height == len(REJECTED[table].keys() - AHEAD)
            key = table.key[0]
            corrected = lakehouse.lake_rows(table).filter(updated_at=lakehouse.lake_rows(table)["updated_at"].max())
            assert set(rejected[key]) <= set(corrected[key])
        else:
            assert rejected.is_empty()
