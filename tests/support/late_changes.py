"""A shop whose rows change after they were captured: moved, added, corrected, deleted, undeleted, or late to arrive."""

FIRST, LAST = "2017-01-01", "2017-01-10"
RAW = "group:raw"
IN_THE_LAKE = "group:raw or group:cleansed or group:curated"
ALL_BUT_FACTS = "not (key:marts/fct_*)"
AFTER_RAW = "group:cleansed or group:curated"
MARTS = "group:marts"

SHOP = """
INSERT INTO shop.customers (customer_id, full_name, address, city, country_code, updated_at) VALUES
  ('ca', 'Ada', 'Old Street 1', 'London', 'GB', '2016-12-15'),
  ('cb', 'Bea', 'Via 2', 'Rome', 'IT', '2017-01-02 09:00+00');
INSERT INTO shop.products VALUES
  ('px', 'Tea', 'Food', 'Maker', 3.00, 'EUR', '2016-12-15', null),
  ('py', 'Cup', 'Ware', 'Maker', 8.00, 'EUR', '2017-01-03 08:00+00', null);
INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at) VALUES
  ('moves', 'ca', '2017-01-02 10:00+00', 'paid', 'EUR', '2017-01-02 10:00+00'),
  ('gets an item', 'cu', '2017-01-02 11:00+00', 'placed', 'EUR', '2017-01-02 11:00+00'),
  ('payer', 'cb', '2017-01-02 12:00+00', 'paid', 'EUR', '2017-01-02 12:00+00'),
  ('corrected', 'cb', '2017-01-03 10:00+00', 'placed', 'EUR', '2017-01-03 10:00+00'),
  ('deleted', 'ca', '2017-01-03 11:00+00', 'paid', 'EUR', '2017-01-03 11:00+00'),
  ('corrected quietly', 'ca', '2017-01-03 12:00+00', 'placed', 'EUR', '2017-01-03 12:00+00'),
  ('alone on its day', 'ca', '2017-01-04 09:00+00', 'paid', 'EUR', '2017-01-04 09:00+00'),
  ('before the move', 'ca', '2017-01-05 08:00+00', 'paid', 'EUR', '2017-01-05 08:00+00'),
  ('after the move', 'ca', '2017-01-05 18:00+00', 'paid', 'EUR', '2017-01-05 18:00+00'),
  ('loses its line', 'cb', '2017-01-05 10:00+00', 'paid', 'EUR', '2017-01-05 10:00+00'),
  ('paid after all', 'cb', '2017-01-05 12:00+00', 'placed', 'EUR', '2017-01-05 12:00+00'),
  ('spoilt', 'ca', '2017-01-06 10:00+00', 'placed', 'EUR', '2017-01-06 10:00+00'),
  ('dated later', 'cb', null, 'placed', 'EUR', '2017-01-04 10:00+00'),
  ('loses its date', 'cb', '2017-01-06 11:00+00', 'placed', 'EUR', '2017-01-06 11:00+00');
INSERT INTO shop.order_items VALUES
  ('moves', 1, 'px', 1, 3.0000, 0, '2017-01-02 10:00+00', null),
  ('gets an item', 1, 'px', 2, 3.0000, 0, '2017-01-02 11:00+00', null),
  ('payer', 1, 'py', 1, 8.0000, 0.5, '2017-01-02 12:00+00', null),
  ('corrected', 1, 'py', 1, 8.0000, 0, '2017-01-03 10:00+00', null),
  ('corrected', 2, 'py', 0, 8.0000, 0, '2017-01-03 10:00+00', null),
  ('deleted', 1, 'px', 4, 3.0000, 0, '2017-01-03 11:00+00', null),
  ('corrected quietly', 1, 'px', 5, 3.0000, 0, '2017-01-03 12:00+00', null),
  ('alone on its day', 1, 'px', 6, 3.0000, 0, '2017-01-04 09:00+00', null),
  ('before the move', 1, 'px', 7, 3.0000, 0, '2017-01-05 08:00+00', null),
  ('after the move', 1, 'px', 8, 3.0000, 0, '2017-01-05 18:00+00', null),
  ('loses its line', 1, 'px', 9, 3.0000, 0, '2017-01-05 10:00+00', null),
  ('spoilt', 1, 'px', 10, 3.0000, 0, '2017-01-06 10:00+00', null),
  ('dated later', 1, 'px', 12, 3.0000, 0, '2017-01-04 10:00+00', null),
  ('loses its date', 1, 'px', 13, 3.0000, 0, '2017-01-06 11:00+00', null),
  ('comes later', 1, 'py', 11, 8.0000, 0, '2017-01-03 07:00+00', null);
INSERT INTO shop.payments VALUES
  ('y moves', 'moves', 'card', 3, 'EUR', 'captured', '2017-01-02 10:00+00', '2017-01-02 10:00+00', null),
  ('y wanders', 'payer', 'cash', 7.5, 'EUR', 'captured', '2017-01-02 12:00+00', '2017-01-02 12:00+00', null),
  ('y deleted', 'deleted', 'card', 12, 'EUR', 'captured', '2017-01-03 11:00+00', '2017-01-03 11:00+00', null),
  ('y is lost', 'corrected', 'card', 8, 'EUR', 'captured', null, '2017-01-03 10:00+00', null),
  ('y comes later', 'comes later', 'paypal', 88, 'EUR', 'captured', null, '2017-01-06 07:00+00', null);
"""

# Change clocks move with the change. Where one stays, the row was committed late or corrected without a trace.
CHANGES = """
UPDATE shop.orders SET ordered_at = '2017-01-05 07:00+00', updated_at = '2017-01-08 10:00+00' WHERE order_id = 'moves';
UPDATE shop.orders SET ordered_at = '2017-01-06 09:00+00', updated_at = '2017-01-08 10:00+00'
  WHERE order_id = 'alone on its day';
INSERT INTO shop.order_items VALUES ('gets an item', 2, 'py', 1, 8.0000, 1, '2017-01-08 10:00+00', null);
UPDATE shop.order_items SET quantity = 3, updated_at = '2017-01-08 10:00+00' WHERE order_id = 'corrected';
UPDATE shop.orders SET deleted_at = '2017-01-08 10:00+00', updated_at = '2017-01-08 10:00+00'
  WHERE order_id = 'deleted';
UPDATE shop.order_items SET deleted_at = '2017-01-08 10:00+00', updated_at = '2017-01-08 10:00+00'
  WHERE order_id = 'loses its line';
UPDATE shop.payments SET order_id = 'paid after all', updated_at = '2017-01-08 10:00+00' WHERE payment_id = 'y wanders';
INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at) VALUES
  ('comes later', 'cb', '2017-01-01 20:00+00', 'paid', 'EUR', '2017-01-08 10:00+00');
UPDATE shop.orders SET currency = 'EURO', updated_at = '2017-01-08 10:00+00' WHERE order_id = 'spoilt';
UPDATE shop.orders SET ordered_at = '2017-01-02 13:00+00', updated_at = '2017-01-08 10:00+00'
  WHERE order_id = 'dated later';
UPDATE shop.orders SET ordered_at = null, updated_at = '2017-01-08 10:00+00' WHERE order_id = 'loses its date';
UPDATE shop.payments SET order_id = null, updated_at = '2017-01-08 10:00+00' WHERE payment_id = 'y is lost';
UPDATE shop.customers SET address = 'New Street 1', updated_at = '2017-01-05 12:00+00' WHERE customer_id = 'ca';
INSERT INTO shop.customers (customer_id, full_name, registered_at, updated_at) VALUES
  ('cu', 'Cleo', '2017-01-01 08:00+00', '2017-01-09 10:00+00');
UPDATE shop.products SET currency = 'XXL', updated_at = '2017-01-09 10:00+00' WHERE product_id = 'px';
UPDATE shop.products SET unit_price = 9.00, updated_at = '2017-01-03 11:30+00' WHERE product_id = 'py';
UPDATE shop.customers SET city = 'Milan' WHERE customer_id = 'cb';
UPDATE shop.orders SET status = 'shipped' WHERE order_id = 'corrected quietly';
UPDATE shop.order_items SET quantity = 50 WHERE order_id = 'corrected quietly';
"""

CHANGES_BACK = """
UPDATE shop.orders SET deleted_at = null, updated_at = '2017-01-10 10:00+00' WHERE order_id = 'deleted';
UPDATE shop.orders SET currency = 'EUR', updated_at = '2017-01-10 10:00+00' WHERE order_id = 'spoilt';
UPDATE shop.order_items SET deleted_at = null, quantity = 1, updated_at = '2017-01-10 10:00+00'
  WHERE order_id = 'loses its line';
"""


BROKEN = """
INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at) VALUES
  ('broken', 'ca', '2017-01-04 10:00+00', 'paid', 'EUR', '2017-01-07 10:00+00'),
  ('good', 'ca', '2017-01-05 10:00+00', 'paid', 'EUR', '2017-01-07 10:00+00');
INSERT INTO shop.order_items SELECT 'broken', line, 'px', -1, 3, 0, '2017-01-07 10:00+00', null
  FROM generate_series(1, 40) AS line;
INSERT INTO shop.order_items VALUES ('good', 1, 'px', 1, 3, 0, '2017-01-07 10:00+00', null);
"""
REPAIRED = "UPDATE shop.order_items SET quantity = 1, updated_at = '2017-01-08 10:00+00' WHERE order_id = 'broken'"


ORDERED = "UPDATE shop.orders SET status = 'paid', updated_at = '2017-01-09 10:00+00' WHERE order_id = 'spoilt'"
