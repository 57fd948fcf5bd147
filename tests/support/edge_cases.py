"""Edge cases beyond those of the sample shop, and the rule that each of them breaks."""

from orders_lakehouse.entities.customers import CUSTOMERS
from orders_lakehouse.entities.order_items import ORDER_ITEMS
from orders_lakehouse.entities.orders import ORDERS
from orders_lakehouse.entities.payments import PAYMENTS
from orders_lakehouse.entities.products import PRODUCTS
from orders_lakehouse.entities.shipment_items import SHIPMENT_ITEMS
from orders_lakehouse.entities.shipments import SHIPMENTS
from orders_lakehouse.entities.warehouses import WAREHOUSES

FIRST, LAST = "2017-01-01", "2017-01-09"

# Rejected rows and their reasons, which are in the order of the contract.
REJECTED = {
    CUSTOMERS: {"  ": "customer_id_missing", "later": "updated_at_in_future"},
    PRODUCTS: {"\t": "product_id_missing", "later": "updated_at_in_future"},
    ORDERS: {
        " ": "order_id_missing",
        "before the start": "ordered_before_start",
        "euro": "currency_not_iso_4217",
        "far ahead": "ordered_at_in_future, ordered_at_out_of_range",
        "later": "updated_at_in_future",
        "no date": "ordered_at_missing",
        "no status": "status_missing, currency_missing",
        "status": "status_not_in_list",
        "too soon": "ordered_at_in_future",
    },
    ORDER_ITEMS: {
        "before the start / 1": "order_before_start",
        "euro / 1": "order_quarantined",
        "euro / 2": "quantity_not_positive, order_quarantined",
        "no such order / 1": "order_unknown",
        "o2 / 1": "quantity_not_positive",
        "o2 / 3": "quantity_not_positive, total_price_negative",
        "o2 / 4": "quantity_missing",
        "o2 / 5": "product_id_missing",
        "o2 / 6": "product_id_missing",
        "o2 / 7": "unit_price_missing",
        "o2 / 8": "unit_price_negative",
        "o2 / 9": "discount_negative",
        "o2 / 10": "discount_out_of_range",
        "o2 / 11": "total_price_negative",
        "o2 / 12": "total_price_out_of_range",
        "o2 / 13": "updated_at_in_future",
        "o2 / 14": "product_id_missing, quantity_not_positive, unit_price_negative",
        "exact / 4": "quantity_too_precise",
        "exact / 5": "quantity_out_of_range",
        "exact / 6": "unit_price_too_precise",
        "exact / 7": "unit_price_out_of_range",
        "exact / 8": "discount_too_precise",
        "yen / 2": "discount_too_precise",
    },
    PAYMENTS: {
        " ": "payment_id_missing",
        "cheque": "method_not_in_list",
        "later": "updated_at_in_future",
        "negative": "amount_negative",
        "no method": "method_missing",
        "no status": "currency_not_iso_4217, status_missing",
        "nothing": "amount_missing, currency_missing",
        "of before": "order_before_start",
        "of euro": "order_quarantined",
        "of nobody": "order_unknown",
        "of unknown": "order_unknown",
        "pending": "status_not_in_list",
        "cents": "amount_too_precise",
        "sen": "amount_too_precise",
        "much": "amount_out_of_range",
    },
    WAREHOUSES: {"\t": "code_missing", "later": "updated_at_in_future"},
    SHIPMENTS: {
        " ": "shipment_id_missing",
        "later": "updated_at_in_future",
        "no status": "status_missing",
        "of before": "order_before_start",
        "of euro": "order_quarantined",
        "of nobody": "order_unknown",
        "of unknown": "order_unknown",
        "on its way": "status_not_in_list",
    },
    SHIPMENT_ITEMS: {
        "before the start / of before / 1": "order_before_start",
        "euro / of euro / 1": "order_quarantined",
        "exact / e1 / 1": "quantity_too_precise",
        "exact / e1 / 2": "quantity_out_of_range",
        "no such order / of unknown / 1": "order_unknown",
        "o1 /   / 1": "shipment_id_missing",
        "o1 / s1 / 2": "updated_at_in_future",
        "o3 / s5 / 1": "quantity_not_positive",
        "o3 / s5 / 2": "quantity_not_positive",
        "o3 / s5 / 3": "quantity_missing",
    },
}
# Rows that stay with a warning, and its reasons.
WARNS = {
    CUSTOMERS: {
        "both": "email_malformed, country_code_not_iso_3166",
        "early": "registered_at_out_of_range",
        "mail": "email_malformed",
        "old": "date_of_birth_out_of_range",
        "un\u200bseen": "customer_id_has_unseen_characters",
        "unborn": "date_of_birth_out_of_range",
        "zz": "country_code_not_iso_3166",
    },
    PRODUCTS: {
        "free": "unit_price_negative",
        "fine": "unit_price_too_precise",
        "money": "currency_not_iso_4217",
        "nan": "unit_price_out_of_range",
        "no money": "unit_price_without_currency",
        "p1 ": "product_id_has_unseen_characters",
    },
    ORDERS: {
        "back\u00a0order": "order_id_has_unseen_characters",
        "never": "shipped_at_out_of_range, delivered_at_out_of_range",
        "long ago": (
            "shipped_at_out_of_range, delivered_at_out_of_range, shipped_before_ordered, delivered_before_shipped"
        ),
        "wrong way": "shipped_before_ordered, delivered_before_shipped",
    },
    PAYMENTS: {
        "dollars": "currency_not_of_order",
        "later paid": "paid_at_out_of_range",
        "y7": "currency_not_of_order",
        "y\t1": "payment_id_has_unseen_characters",
    },
    WAREHOUSES: {"W\u200b3": "code_has_unseen_characters", "nowhere": "country_code_not_iso_3166"},
    SHIPMENTS: {
        "e\u00a01": "shipment_id_has_unseen_characters",
        "s5": "delivered_before_shipped",
        "s6": "cost_negative, shipped_at_out_of_range, delivered_at_out_of_range, delivered_before_shipped",
        "s7": "cost_out_of_range",
        "S8": "cost_without_currency",
        "s9": "currency_not_iso_4217",
        "sen": "cost_too_precise",
    },
    SHIPMENT_ITEMS: {"yen": "shipment_id_has_unseen_characters"},
}
# Rows that a shop with other types can hold.
EXACT = """
INSERT INTO shop.customers (customer_id, country_code, updated_at) VALUES
  ('zz', 'ZZ', '2017-01-01'), (U&'un\\200Bseen', 'DD', '2017-01-01');
INSERT INTO shop.products (product_id, product_name, unit_price, currency, updated_at) VALUES
  ('fine', 'Fine', 0.000000001, 'EUR', '2017-01-01'), ('no money', 'None', 1, null, '2017-01-01'),
  ('p1 ', 'Looks like p1', 1, 'EUR', '2017-01-01'), ('exact', 'Exact', 0.12345678, 'RMB', '2017-01-01');
INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, shipped_at, delivered_at, updated_at)
VALUES
  ('exact', 'zz', '2017-01-08 10:00+00', 'paid', 'KWD', null, null, '2017-01-08 10:00+00'),
  ('yen', null, '2017-01-08 10:00+00', 'paid', 'JPY', null, null, '2017-01-08 10:00+00'),
  ('never', null, '2017-01-08 10:00+00', 'paid', 'HRK', 'infinity', 'infinity', '2017-01-08 10:00+00'),
  ('wrong way', null, '2017-01-08 10:00+00', 'paid', 'EUR', '2017-01-08 09:00+00', '2017-01-08 08:00+00',
   '2017-01-08 10:00+00'),
  ('long ago', null, '2017-01-08 10:00+00', 'paid', 'EUR', '-infinity', '-infinity', '2017-01-08 10:00+00'),
  (U&'back\\00A0order', null, '2017-01-08 10:00+00', 'paid', 'EUR', null, null, '2017-01-08 10:00+00');
INSERT INTO shop.order_items (order_id, line_number, product_id, quantity, unit_price, discount, updated_at) VALUES
  ('exact', 1, 'exact', 1.5, 0.82333333, 0, '2017-01-08 10:00+00'),
  ('exact', 2, 'exact', 0.000001, 4500.00000001, 0.001, '2017-01-08 10:00+00'),
  ('exact', 3, 'exact', 1, 1.2345, 0, '2017-01-08 10:00+00'),
  ('exact', 4, 'exact', 1.0000001, 1, 0, '2017-01-08 10:00+00'),
  ('exact', 5, 'exact', 'NaN', 1, 0, '2017-01-08 10:00+00'),
  ('exact', 6, 'exact', 1, 0.000000001, 0, '2017-01-08 10:00+00'),
  ('exact', 7, 'exact', 1, 'Infinity', 0, '2017-01-08 10:00+00'),
  ('exact', 8, 'exact', 1, 1, 0.0001, '2017-01-08 10:00+00'),
  ('exact', 9, 'exact', 98999999999.999999, 999, 0, '2017-01-08 10:00+00'),
  ('yen', 1, 'exact', 3, 33.5, 0, '2017-01-08 10:00+00'),
  ('yen', 2, 'exact', 3, 33.5, 0.5, '2017-01-08 10:00+00'),
  ('before the start', 1, 'exact', 1, 1, 0, '2017-01-05 10:00+00');
INSERT INTO shop.payments (payment_id, order_id, method, amount, currency, status, paid_at, updated_at) VALUES
  ('dinars', 'exact', 'card', 1.235, 'kwd', 'captured', null, '2017-01-08 10:05+00'),
  ('dollars', 'exact', 'cash', 99.99, 'USD', 'captured', null, '2017-01-08 10:05+00'),
  ('yen', 'yen', 'cash', 101, 'JPY', 'captured', null, '2017-01-08 10:05+00'),
  ('sen', 'yen', 'cash', 0.5, 'JPY', 'captured', null, '2017-01-08 10:05+00'),
  ('cents', 'exact', 'cash', 0.00001, 'KWD', 'captured', null, '2017-01-08 10:05+00'),
  ('much', 'exact', 'cash', 100000000000000, 'KWD', 'captured', null, '2017-01-08 10:05+00'),
  ('later paid', 'yen', 'cash', 1, 'JPY', 'failed', 'infinity', '2017-01-08 10:05+00'),
  ('of before', 'before the start', 'cash', 1, 'EUR', 'captured', null, '2017-01-05 10:05+00'),
  (E'y\\t1', 'yen', 'cash', 1, 'JPY', 'failed', null, '2017-01-08 10:05+00');
INSERT INTO shop.warehouses (code, country_code, updated_at) VALUES (U&'W\\200B3', 'DD', '2017-01-01');
INSERT INTO shop.shipments (shipment_id, order_id, warehouse_code, cost, currency, status, updated_at) VALUES
  (U&'e\\00A01', 'yen', U&'W\\200B3', 101, 'JPY', 'pending', '2017-01-08 10:05+00'),
  ('sen', 'yen', null, 0.5, 'JPY', 'shipped', '2017-01-08 10:05+00'),
  ('of before', 'before the start', null, 1, 'EUR', 'shipped', '2017-01-05 10:05+00');
INSERT INTO shop.shipments (shipment_id, order_id, warehouse_code, carrier, status, updated_at) VALUES
  ('s2', 'o1', 'W1', '', 'pending', '2017-01-03 10:00+00');
INSERT INTO shop.shipment_items (shipment_id, order_id, line_number, quantity, updated_at) VALUES
  -- Too much is shipped, for another order, and by a shipment that nobody knows.
  ('s2', 'o1', 3, 1, '2017-01-03 10:00+00'),
  ('s9', 'o6', 2, 5, '2017-01-05 10:00+00'),
  ('s6', 'o5', 1, 100, '2017-01-05 10:00+00'),
  ('not noted', 'o5', 1, 1, '2017-01-05 10:00+00'),
  ('sen', 'yen', 1, 2.999999, '2017-01-08 10:05+00'),
  (U&'e\\00A01', 'yen', 1, 0.000001, '2017-01-08 10:05+00'),
  ('e1', 'exact', 1, 0.0000001, '2017-01-08 10:05+00'),
  ('e1', 'exact', 2, 'NaN', '2017-01-08 10:05+00'),
  ('of before', 'before the start', 1, 1, '2017-01-05 10:05+00');
"""
