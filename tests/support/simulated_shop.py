"""A shop with a week of orders, for the simulation to go on from."""

# A week with a hundred orders of two lines on each day; rows are as old as their orders.
WEEK = """
INSERT INTO shop.customers (customer_id, full_name, address, updated_at)
    SELECT 'c' || n, 'Customer ' || n, n || ' Street', '2017-01-01' FROM generate_series(1, 50) AS n;
INSERT INTO shop.products (product_id, unit_price, currency, updated_at)
    SELECT 'p' || n, n, 'USD', '2017-01-01' FROM generate_series(1, 20) AS n;
INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at)
    SELECT 'o' || n, 'c' || 1 + n % 50, at, 'placed', 'USD', at FROM generate_series(0, 699) AS n
    CROSS JOIN LATERAL (SELECT '2017-01-01'::timestamptz + n * interval '14 minutes' AS at) AS clock;
INSERT INTO shop.order_items (order_id, line_number, product_id, quantity, unit_price, updated_at)
    SELECT order_id, line, 'p' || line, 1, line, updated_at FROM shop.orders CROSS JOIN generate_series(1, 2) AS line;
"""
