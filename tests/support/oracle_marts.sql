-- What the marts ought to show, all of it as text.

CREATE VIEW oracle.fct_order_lines AS
SELECT
    items.order_id,
    items.line_number::text,
    to_char(orders.order_date, 'YYYYMMDD') AS date_id,
    orders.customer_id,
    items.product_id,
    items.quantity::numeric(18, 6)::text,
    items.unit_price::numeric(24, 8)::text,
    items.discount::numeric(18, 4)::text,
    items.total_price::numeric(18, 4)::text,
    orders.currency,
    orders.status,
    orders.ordered_at::text,
    customers.customer_name,
    customers.address,
    customers.city,
    customers.country_code,
    products.product_name,
    products.category,
    products.manufacturer,
    products.unit_price::text AS list_price
FROM oracle.order_items AS items
INNER JOIN oracle.orders AS orders ON items.order_id = orders.order_id
LEFT JOIN oracle.customers AS customers
    ON
        orders.customer_id = customers.customer_id
        AND orders.ordered_at >= customers.valid_from
        AND orders.ordered_at < customers.valid_to
LEFT JOIN oracle.products AS products
    ON
        items.product_id = products.product_id
        AND orders.ordered_at >= products.valid_from
        AND orders.ordered_at < products.valid_to;

CREATE VIEW oracle.fct_orders AS
SELECT
    orders.order_id,
    to_char(orders.order_date, 'YYYYMMDD') AS date_id,
    orders.customer_id,
    customers.customer_name,
    customers.address,
    coalesce(main.method, 'unknown') AS method,
    coalesce(lines.lines, 0)::text AS lines,
    coalesce(lines.units, 0)::numeric(38, 6)::text AS units,
    coalesce(lines.total_price, 0)::numeric(38, 4)::text AS total_price,
    coalesce(paid.amount, 0)::numeric(38, 4)::text AS paid_amount,
    coalesce(paid.others, 0)::text AS payments_in_other_currencies,
    orders.currency,
    orders.status,
    orders.ordered_at::text,
    fulfilled.shipped_at::text AS shipped_at,
    fulfilled.delivered_at::text AS delivered_at,
    CASE
        WHEN fulfilled.shipped_at >= orders.ordered_at
            THEN round(extract(EPOCH FROM fulfilled.shipped_at - orders.ordered_at) / 3600, 2)::text
    END AS hours_to_ship,
    CASE
        WHEN fulfilled.delivered_at >= orders.ordered_at
            THEN round(extract(EPOCH FROM fulfilled.delivered_at - orders.ordered_at) / 3600, 2)::text
    END AS hours_to_deliver,
    fulfilled.shipments::text AS shipments,
    lines.units_shipped::numeric(38, 6)::text AS units_shipped,
    CASE
        WHEN fulfilled.shipments = 0 AND orders.delivered_at IS NOT NULL THEN 'delivered'
        WHEN fulfilled.shipments = 0 AND orders.shipped_at IS NOT NULL THEN 'shipped'
        WHEN fulfilled.shipped = 0 THEN 'unshipped'
        WHEN fulfilled.shipped < fulfilled.shipments THEN 'partially_shipped'
        -- A line that the shop lists in no shipment waits, where it lists any line of the order.
        WHEN lines.units_shipped IS NOT NULL AND lines.waiting THEN 'partially_shipped'
        WHEN fulfilled.is_delivered THEN 'delivered'
        ELSE 'shipped'
    END AS fulfilment_state,
    fulfilled.last_shipped_at::text AS last_shipped_at,
    CASE
        WHEN fulfilled.last_shipped_at >= orders.ordered_at
            THEN round(extract(EPOCH FROM fulfilled.last_shipped_at - orders.ordered_at) / 3600, 2)::text
    END AS hours_to_last_shipment,
    orders.shipped_at::text AS order_shipped_at,
    orders.delivered_at::text AS order_delivered_at
FROM oracle.orders AS orders
INNER JOIN (
    SELECT
        orders.order_id,
        coalesce(sent.shipments, 0) AS shipments,
        coalesce(sent.shipped, 0) AS shipped,
        sent.is_delivered,
        CASE WHEN sent.shipments IS NULL THEN orders.shipped_at ELSE sent.shipped_at END AS shipped_at,
        CASE WHEN sent.shipments IS NULL THEN orders.shipped_at ELSE sent.last_shipped_at END AS last_shipped_at,
        CASE WHEN sent.shipments IS NULL THEN orders.delivered_at ELSE sent.delivered_at END AS delivered_at
    FROM oracle.orders AS orders
    LEFT JOIN oracle.fulfilment AS sent ON orders.order_id = sent.order_id
) AS fulfilled ON orders.order_id = fulfilled.order_id
LEFT JOIN (
    SELECT
        items.order_id,
        count(*) AS lines,
        sum(items.quantity) AS units,
        sum(items.total_price) AS total_price,
        sum(shipped.quantity) AS units_shipped,
        bool_or(items.quantity > coalesce(shipped.quantity, 0)) AS waiting
    FROM oracle.order_items AS items
    LEFT JOIN oracle.shipped_lines AS shipped
        ON items.order_id = shipped.order_id AND items.line_number = shipped.line_number
    GROUP BY items.order_id
) AS lines ON orders.order_id = lines.order_id
LEFT JOIN (
    SELECT
        order_id,
        coalesce(sum(amount) FILTER (WHERE is_in_currency_of_order AND status = 'captured'), 0)
        - coalesce(sum(amount) FILTER (WHERE is_in_currency_of_order AND status = 'refunded'), 0) AS amount,
        count(*) FILTER (WHERE NOT is_in_currency_of_order AND status IN ('captured', 'refunded')) AS others
    FROM oracle.payments GROUP BY order_id
) AS paid ON orders.order_id = paid.order_id
LEFT JOIN (
    SELECT DISTINCT ON (order_id) order_id, method FROM oracle.payments
    WHERE status = 'captured'
    ORDER BY order_id, is_in_currency_of_order DESC, amount DESC, payment_id COLLATE "C"
) AS main ON orders.order_id = main.order_id
LEFT JOIN oracle.customers AS customers
    ON
        orders.customer_id = customers.customer_id
        AND orders.ordered_at >= customers.valid_from
        AND orders.ordered_at < customers.valid_to;

CREATE VIEW oracle.per_date AS
SELECT
    date_id,
    sum(lines::bigint)::text AS lines,
    count(*)::text AS orders,
    sum(units::numeric)::text AS units,
    sum(total_price::numeric)::text AS total_price,
    sum(paid_amount::numeric)::text AS paid_amount
FROM oracle.fct_orders GROUP BY date_id;

CREATE VIEW oracle.dim_customers AS
SELECT
    customer_id, customer_name, customer_email, date_of_birth::text, registration_date::text, address, city, state,
    postal_code, country_code, is_deleted::text,
    CASE WHEN valid_from = '-infinity' THEN '1900-01-01 00:00:00+00' ELSE valid_from END::text AS valid_from,
    CASE WHEN valid_to = 'infinity' THEN '9999-12-31 00:00:00+00' ELSE valid_to END::text AS valid_to,
    (valid_to = 'infinity')::text AS is_current
FROM oracle.customers;

CREATE VIEW oracle.dim_products AS
SELECT
    product_id, product_name, category, manufacturer, unit_price::text, currency, is_deleted::text,
    CASE WHEN valid_from = '-infinity' THEN '1900-01-01 00:00:00+00' ELSE valid_from END::text AS valid_from,
    CASE WHEN valid_to = 'infinity' THEN '9999-12-31 00:00:00+00' ELSE valid_to END::text AS valid_to,
    (valid_to = 'infinity')::text AS is_current
FROM oracle.products;

CREATE VIEW oracle.daily_sales AS
SELECT
    orders.order_date::text,
    orders.currency,
    count(DISTINCT orders.order_id)::text AS orders,
    count(*)::text AS lines,
    sum(items.quantity)::numeric(38, 6)::text AS units,
    sum(items.total_price)::numeric(38, 4)::text AS gross,
    coalesce(sum(items.total_price) FILTER (WHERE orders.status NOT IN ('cancelled', 'returned')), 0)::numeric(38, 4)::text
        AS net
FROM oracle.order_items AS items
INNER JOIN oracle.orders AS orders ON items.order_id = orders.order_id
GROUP BY orders.order_date, orders.currency;

CREATE VIEW oracle.customer_profile AS
SELECT
    orders.customer_id,
    orders.currency,
    count(DISTINCT orders.order_id)::text AS orders,
    sum(items.quantity)::numeric(38, 6)::text AS units,
    sum(items.total_price)::numeric(38, 4)::text AS spend,
    min(orders.order_date)::text AS first_order_on,
    max(orders.order_date)::text AS last_order_on,
    (
        SELECT max(latest.order_date) FROM oracle.orders AS latest
        WHERE EXISTS (SELECT FROM oracle.order_items WHERE order_id = latest.order_id)
    ) - max(orders.order_date) AS recency_days
FROM oracle.order_items AS items
INNER JOIN oracle.orders AS orders ON items.order_id = orders.order_id
WHERE orders.customer_id IS NOT NULL AND orders.status NOT IN ('cancelled', 'returned')
GROUP BY orders.customer_id, orders.currency;

CREATE VIEW oracle.dim_warehouses AS
SELECT
    warehouse_code, warehouse_name, city, country_code, is_deleted::text,
    CASE WHEN valid_from = '-infinity' THEN '1900-01-01 00:00:00+00' ELSE valid_from END::text AS valid_from,
    CASE WHEN valid_to = 'infinity' THEN '9999-12-31 00:00:00+00' ELSE valid_to END::text AS valid_to,
    (valid_to = 'infinity')::text AS is_current
FROM oracle.warehouses;

CREATE VIEW oracle.fct_shipments AS
SELECT
    shipments.shipment_id,
    shipments.order_id,
    to_char(shipments.order_date, 'YYYYMMDD') AS date_id,
    customers.customer_name,
    shipments.warehouse_code,
    warehouses.warehouse_name,
    coalesce(contents.lines, 0)::text AS lines,
    coalesce(contents.units, 0)::numeric(38, 6)::text AS units,
    shipments.cost::text AS cost,
    shipments.currency,
    shipments.carrier,
    shipments.service,
    shipments.tracking_number,
    shipments.status,
    shipments.shipped_at::text AS shipped_at,
    shipments.delivered_at::text AS delivered_at,
    CASE
        WHEN shipments.shipped_at >= shipments.ordered_at
            THEN round(extract(EPOCH FROM shipments.shipped_at - shipments.ordered_at) / 3600, 2)::text
    END AS hours_to_ship,
    CASE
        WHEN shipments.delivered_at >= shipments.shipped_at
            THEN round(extract(EPOCH FROM shipments.delivered_at - shipments.shipped_at) / 3600, 2)::text
    END AS hours_in_transit
FROM oracle.shipments AS shipments
LEFT JOIN (
    SELECT shipment_id, order_id, count(*) AS lines, sum(quantity) AS units
    FROM oracle.shipment_items GROUP BY shipment_id, order_id
) AS contents ON shipments.shipment_id = contents.shipment_id AND shipments.order_id = contents.order_id
LEFT JOIN oracle.customers AS customers
    ON
        shipments.customer_id = customers.customer_id
        AND shipments.ordered_at >= customers.valid_from
        AND shipments.ordered_at < customers.valid_to
LEFT JOIN oracle.warehouses AS warehouses
    ON
        shipments.warehouse_code = warehouses.warehouse_code
        AND shipments.ordered_at >= warehouses.valid_from
        AND shipments.ordered_at < warehouses.valid_to;

CREATE VIEW oracle.fct_shipment_lines AS
SELECT
    items.shipment_id,
    items.order_id,
    items.line_number::text,
    to_char(items.order_date, 'YYYYMMDD') AS date_id,
    lines.product_id,
    products.product_name,
    shipments.warehouse_code,
    warehouses.warehouse_name,
    items.quantity::numeric(18, 6)::text AS quantity,
    shipments.carrier,
    coalesce(shipments.status, 'unknown') AS shipment_status,
    shipments.shipped_at::text AS shipped_at,
    shipments.delivered_at::text AS delivered_at
FROM oracle.shipment_items AS items
LEFT JOIN oracle.shipments AS shipments
    ON items.shipment_id = shipments.shipment_id AND items.order_id = shipments.order_id
LEFT JOIN oracle.order_items AS lines ON items.order_id = lines.order_id AND items.line_number = lines.line_number
LEFT JOIN oracle.products AS products
    ON
        lines.product_id = products.product_id
        AND items.ordered_at >= products.valid_from
        AND items.ordered_at < products.valid_to
LEFT JOIN oracle.warehouses AS warehouses
    ON
        shipments.warehouse_code = warehouses.warehouse_code
        AND shipments.ordered_at >= warehouses.valid_from
        AND shipments.ordered_at < warehouses.valid_to;
