-- What happens in the shop in a stretch of time, from %(since)s to %(until)s: a statement for each kind of event.
--
-- The shop itself is the only state between two stretches. Random draws depend on a key, a purpose and the seed, so the
-- same shop always continues in the same way. A new order repeats one of a year ago (%(shift)s) with its lines, so that
-- weekdays and seasons keep their pattern. The name after `::` is the kind by which changed rows are counted.

-- :: orders
WITH placed AS (
    SELECT
        order_id AS template,
        customer_id,
        currency,
        ordered_at + %(shift)s::interval AS ordered_at,
        -- One in a hundred is entered late, after its lines.
        ordered_at + %(shift)s::interval + CASE
            WHEN pg_temp.draw(order_id, 'entered late') < 0.01
                THEN pg_temp.draw(order_id, 'how late') * interval '2 days'
            ELSE interval '0'
        END AS entered_at
    FROM shop.orders
    WHERE
        ordered_at >= %(since)s - %(shift)s::interval - interval '2 days'
        AND ordered_at < %(until)s - %(shift)s::interval
        AND deleted_at IS NULL
)

INSERT INTO shop.orders (order_id, customer_id, ordered_at, status, currency, updated_at)
SELECT
    pg_temp.new_id(template),
    CASE
        WHEN pg_temp.draw(template, 'guest') < 0.03 THEN NULL
        WHEN pg_temp.draw(template, 'not registered yet') < 0.02 THEN pg_temp.new_id(template)
        ELSE customer_id
    END,
    ordered_at,
    'placed',
    CASE
        WHEN pg_temp.draw(template, 'currency') < 0.001 THEN 'DOLLAR'
        WHEN pg_temp.draw(template, 'currency') < 0.01 THEN lower(currency)
        ELSE currency
    END,
    entered_at
FROM placed
WHERE entered_at >= %(since)s AND entered_at < %(until)s
ON CONFLICT DO NOTHING;

-- :: lines
WITH placed AS (
    SELECT
        order_id AS template,
        -- Three in a hundred orders get their lines late.
        ordered_at + %(shift)s::interval + CASE
            WHEN pg_temp.draw(order_id, 'lines late') < 0.03
                THEN pg_temp.draw(order_id, 'how late the lines') * interval '2 days'
            ELSE interval '0'
        END AS entered_at
    FROM shop.orders
    WHERE
        ordered_at >= %(since)s - %(shift)s::interval - interval '2 days'
        AND ordered_at < %(until)s - %(shift)s::interval
        AND deleted_at IS NULL
)

INSERT INTO shop.order_items (order_id, line_number, product_id, quantity, unit_price, discount, updated_at)
SELECT
    pg_temp.new_id(items.order_id),
    items.line_number,
    items.product_id,
    CASE WHEN pg_temp.draw(items.order_id || items.line_number, 'typo') < 0.001 THEN 0 ELSE items.quantity END,
    items.unit_price,
    items.discount,
    placed.entered_at
FROM placed
INNER JOIN shop.order_items AS items ON placed.template = items.order_id
WHERE placed.entered_at >= %(since)s AND placed.entered_at < %(until)s AND items.deleted_at IS NULL
ON CONFLICT DO NOTHING;

-- :: status changes
WITH due AS (
    SELECT
        order_id,
        ordered_at + CASE
            WHEN pg_temp.method(order_id) = 'transfer'
                THEN interval '4 hours' + pg_temp.draw(order_id, 'time to transfer') * interval '40 hours'
            ELSE interval '1 minute' + pg_temp.draw(order_id, 'time to pay') * interval '20 minutes'
        END AS paid_at
    FROM shop.orders
    WHERE
        status = 'placed' AND deleted_at IS NULL AND ordered_at >= %(since)s - interval '10 days'
        AND pg_temp.draw(order_id, 'fate') >= 0.008
)

UPDATE shop.orders
SET status = 'paid', updated_at = pg_temp.clock(due.paid_at, orders.updated_at)
FROM due
WHERE orders.order_id = due.order_id AND due.paid_at < %(until)s;

-- :: payments
UPDATE shop.payments
SET status = 'captured', paid_at = orders.updated_at, updated_at = orders.updated_at
FROM shop.orders
WHERE payments.order_id = orders.order_id AND payments.status = 'authorised' AND orders.status = 'paid';

-- :: payments
WITH paid AS (
    SELECT
        order_id,
        -- Two in a hundred payments are noted late.
        updated_at + CASE
            WHEN pg_temp.draw(order_id, 'paid late') < 0.02
                THEN pg_temp.draw(order_id, 'how late paid') * interval '3 days'
            ELSE interval '0'
        END AS noted_at,
        currency
    FROM shop.orders
    WHERE
        status IN ('paid', 'shipped', 'delivered') AND deleted_at IS NULL
        AND ordered_at >= %(since)s - interval '12 days'
        AND NOT EXISTS (SELECT FROM shop.payments WHERE payments.order_id = orders.order_id)
)

INSERT INTO shop.payments (payment_id, order_id, method, amount, currency, status, paid_at, updated_at)
SELECT
    'P' || paid.order_id, paid.order_id, pg_temp.method(paid.order_id), lines.total, paid.currency, 'captured',
    paid.noted_at, pg_temp.clock(paid.noted_at, paid.noted_at)
FROM paid
INNER JOIN LATERAL (
    SELECT sum(round(quantity * unit_price - coalesce(discount, 0), 2)) AS total
    FROM shop.order_items
    WHERE order_items.order_id = paid.order_id AND deleted_at IS NULL
) AS lines ON lines.total IS NOT NULL
WHERE paid.noted_at < %(until)s
ON CONFLICT DO NOTHING;

-- :: status changes
UPDATE shop.orders
SET status = 'cancelled', updated_at = pg_temp.clock(pg_temp.moment(order_id), updated_at)
WHERE
    deleted_at IS NULL AND ordered_at >= %(since)s - interval '10 days' AND ordered_at < %(until)s - interval '1 day'
    AND (
        (status = 'placed' AND pg_temp.draw(order_id, 'fate') < 0.008)
        OR (status = 'paid' AND pg_temp.draw(order_id, 'fate') < 0.02)
    );

-- :: status changes
WITH due AS (
    SELECT
        order_id,
        updated_at + interval '3 hours' + pg_temp.draw(order_id, 'time to ship') * interval '33 hours' AS shipped_at
    FROM shop.orders
    WHERE status = 'paid' AND deleted_at IS NULL AND pg_temp.draw(order_id, 'fate') >= 0.02
)

UPDATE shop.orders
SET
    status = 'shipped',
    shipped_at = due.shipped_at,
    updated_at = pg_temp.clock(due.shipped_at, orders.updated_at)
FROM due
WHERE orders.order_id = due.order_id AND due.shipped_at < %(until)s;

-- :: status changes
WITH due AS (
    SELECT
        order_id,
        shipped_at + interval '1 day' + pg_temp.draw(order_id, 'time to deliver') * interval '5 days' AS delivered_at
    FROM shop.orders
    WHERE status = 'shipped' AND deleted_at IS NULL
)

UPDATE shop.orders
SET
    status = 'delivered',
    delivered_at = due.delivered_at,
    updated_at = pg_temp.clock(due.delivered_at, orders.updated_at)
FROM due
WHERE orders.order_id = due.order_id AND due.delivered_at < %(until)s;

-- :: status changes
WITH due AS (
    SELECT
        order_id,
        delivered_at + interval '2 days' + pg_temp.draw(order_id, 'time to return') * interval '19 days' AS returned_at
    FROM shop.orders
    WHERE
        status = 'delivered' AND deleted_at IS NULL AND delivered_at >= %(since)s - interval '30 days'
        AND pg_temp.draw(order_id, 'fate') BETWEEN 0.02 AND 0.035
)

UPDATE shop.orders
SET status = 'returned', updated_at = pg_temp.clock(due.returned_at, orders.updated_at)
FROM due
WHERE orders.order_id = due.order_id AND due.returned_at < %(until)s;

-- :: payments
INSERT INTO shop.payments (payment_id, order_id, method, amount, currency, status, paid_at, updated_at)
SELECT
    payments.payment_id || '-R', payments.order_id, payments.method, payments.amount, payments.currency, 'refunded',
    orders.updated_at, orders.updated_at
FROM shop.orders
INNER JOIN shop.payments ON orders.order_id = payments.order_id AND payments.status = 'captured'
WHERE orders.status IN ('cancelled', 'returned') AND orders.updated_at >= %(since)s
ON CONFLICT DO NOTHING;

-- :: shipments
INSERT INTO shop.shipments (
    shipment_id, order_id, warehouse_code, carrier, service, tracking_number, shipped_at, cost, currency, status, updated_at
)
SELECT
    'H' || orders.order_id || '-' || parcel,
    orders.order_id,
    -- One in two hundred names a warehouse that nobody has noted.
    CASE
        WHEN pg_temp.draw(orders.order_id, 'new warehouse') < 0.005 THEN 'NEW'
        ELSE (ARRAY['CHI', 'DAL', 'PHX', 'PIT'])[1 + floor(pg_temp.draw(orders.order_id, 'warehouse') * 4)]
    END,
    (ARRAY['Northline', 'Parcelway', 'Quickbird'])[1 + floor(pg_temp.draw(orders.order_id, 'carrier') * 3)],
    (ARRAY['standard', 'express'])[1 + floor(pg_temp.draw(orders.order_id, 'service') * 2)],
    CASE WHEN parcel = 1 THEN left(md5(orders.order_id), 12) END,
    CASE WHEN parcel = 1 THEN orders.shipped_at END,
    4.90,
    orders.currency,
    CASE WHEN parcel = 1 THEN 'shipped' ELSE 'pending' END,
    pg_temp.clock(orders.shipped_at, orders.shipped_at)
FROM shop.orders
CROSS JOIN
    generate_series(1, CASE WHEN pg_temp.draw(orders.order_id, 'in two parcels') < 0.15 THEN 2 ELSE 1 END) AS parcel
WHERE
    orders.status IN ('shipped', 'delivered') AND orders.deleted_at IS NULL
    AND orders.shipped_at >= %(since)s - interval '1 day'
    AND pg_temp.draw(orders.order_id, 'sent by a carrier') < 0.05
ON CONFLICT DO NOTHING;

-- :: shipments
INSERT INTO shop.shipment_items (shipment_id, order_id, line_number, quantity, updated_at)
SELECT
    shipments.shipment_id, shipments.order_id, items.line_number, items.quantity,
    pg_temp.clock(shipments.updated_at, shipments.updated_at)
FROM shop.shipments
INNER JOIN shop.order_items AS items ON shipments.order_id = items.order_id
WHERE
    shipments.updated_at >= %(since)s AND items.quantity > 0 AND items.deleted_at IS NULL
    AND shipments.shipment_id LIKE 'H' || shipments.order_id || '-%%'
    AND shipments.shipment_id LIKE '%%-' || CASE
        WHEN pg_temp.draw(items.order_id, 'in two parcels') < 0.15 THEN (items.line_number + 1) %% 2 + 1
        ELSE 1
    END
ON CONFLICT DO NOTHING;

-- :: shipments
UPDATE shop.shipments
SET
    status = 'shipped',
    shipped_at = pg_temp.moment(shipment_id),
    tracking_number = left(md5(shipment_id), 12),
    updated_at = pg_temp.clock(pg_temp.moment(shipment_id), updated_at)
WHERE status = 'pending' AND deleted_at IS NULL AND updated_at < %(since)s;

-- :: shipments
UPDATE shop.shipments
SET
    -- One in a hundred is lost on its way.
    status = CASE WHEN pg_temp.draw(shipments.shipment_id, 'lost') < 0.01 THEN 'lost' ELSE 'delivered' END,
    delivered_at = CASE WHEN pg_temp.draw(shipments.shipment_id, 'lost') >= 0.01 THEN orders.delivered_at END,
    updated_at = pg_temp.clock(orders.delivered_at, shipments.updated_at)
FROM shop.orders
WHERE
    shipments.order_id = orders.order_id AND shipments.status = 'shipped' AND shipments.deleted_at IS NULL
    AND orders.delivered_at < %(until)s;

-- :: shipments
-- A label that was printed for the wrong order: the shipment goes with another one.
WITH moving AS (
    SELECT
        shipment_id, order_id, lead(order_id) OVER (ORDER BY shipment_id) AS to_order
    FROM shop.shipments
    WHERE deleted_at IS NULL AND updated_at >= %(since)s - interval '10 days'
)

UPDATE shop.shipments
SET order_id = moving.to_order, updated_at = pg_temp.clock(pg_temp.moment(moving.shipment_id), shipments.updated_at)
FROM moving
WHERE
    shipments.shipment_id = moving.shipment_id AND moving.to_order IS NOT NULL
    AND pg_temp.draw(moving.shipment_id || %(until)s, 'other order') < 0.001;

-- :: shipments
UPDATE shop.shipments
SET
    deleted_at = pg_temp.clock(pg_temp.moment(shipment_id), updated_at),
    updated_at = pg_temp.clock(pg_temp.moment(shipment_id), updated_at)
WHERE
    deleted_at IS NULL AND updated_at >= %(since)s - interval '30 days' AND updated_at < %(until)s
    AND pg_temp.draw(shipment_id || %(until)s, 'deleted') < 0.0005;

-- :: corrections
UPDATE shop.orders
SET
    ordered_at = least(ordered_at + (pg_temp.draw(order_id, 'moved by') - 0.7) * interval '3 days', updated_at),
    updated_at = pg_temp.clock(pg_temp.moment(order_id), updated_at)
WHERE
    deleted_at IS NULL AND ordered_at >= %(since)s - interval '14 days' AND updated_at < %(until)s
    AND pg_temp.draw(order_id || %(until)s, 'moves') < 0.0002;

-- :: corrections
UPDATE shop.order_items
SET
    quantity = greatest(quantity, 0) + 1,
    updated_at = pg_temp.clock(pg_temp.moment(order_items.order_id), order_items.updated_at)
FROM shop.orders
WHERE
    order_items.order_id = orders.order_id AND order_items.deleted_at IS NULL
    AND orders.ordered_at BETWEEN %(since)s - interval '60 days' AND %(since)s - interval '3 days'
    AND pg_temp.draw(orders.order_id || %(until)s, 'miscounted') < 0.00005;

-- :: corrections
UPDATE shop.orders
SET currency = 'USD', updated_at = pg_temp.clock(pg_temp.moment(order_id), updated_at)
WHERE currency = 'DOLLAR' AND updated_at < %(since)s - interval '1 day' AND deleted_at IS NULL;

-- :: corrections
UPDATE shop.orders
SET
    deleted_at = pg_temp.clock(pg_temp.moment(order_id), updated_at),
    updated_at = pg_temp.clock(pg_temp.moment(order_id), updated_at)
WHERE
    deleted_at IS NULL AND ordered_at >= %(since)s - interval '30 days' AND updated_at < %(until)s
    AND pg_temp.draw(order_id || %(until)s, 'deleted') < 0.0001;

-- :: corrections
UPDATE shop.orders
SET deleted_at = NULL, updated_at = pg_temp.clock(pg_temp.moment(order_id), updated_at)
WHERE deleted_at < %(since)s - interval '1 day' AND pg_temp.draw(order_id, 'restored') < 0.5;

-- :: products
UPDATE shop.products
SET
    -- One price in ten is lost, and found again a day later.
    unit_price = CASE
        WHEN unit_price IS NULL THEN round((1 + pg_temp.draw(product_id, 'found') * 9)::numeric, 2)
        WHEN pg_temp.draw(product_id || %(until)s, 'lost') < 0.1 THEN NULL
        ELSE round(unit_price * (0.9 + pg_temp.draw(product_id || %(until)s, 'by') * 0.25)::numeric, 2)
    END,
    updated_at = pg_temp.clock(pg_temp.moment(product_id), updated_at)
WHERE
    deleted_at IS NULL AND (
        pg_temp.draw(product_id || %(until)s, 'price') < 2.0 / (SELECT count(*) FROM shop.products)
        OR (unit_price IS NULL AND updated_at < %(since)s - interval '1 day')
    );

-- :: customers
WITH numbered AS (
    SELECT
        customer_id, address, city, state, postal_code, count(*) OVER () AS customers,
        row_number() OVER (ORDER BY customer_id) AS number
    FROM shop.customers
    WHERE deleted_at IS NULL
),

moving AS (
    SELECT
        customer_id,
        1 + floor(pg_temp.draw(customer_id || %(until)s, 'where to') * customers) AS number
    FROM numbered
    WHERE pg_temp.draw(customer_id || %(until)s, 'moves') < 1.5 / customers
)

UPDATE shop.customers
SET
    address = there.address, city = there.city, state = there.state, postal_code = there.postal_code,
    updated_at = pg_temp.clock(pg_temp.moment(customers.customer_id), customers.updated_at)
FROM moving
INNER JOIN numbered AS there ON moving.number = there.number
WHERE customers.customer_id = moving.customer_id;

-- :: customers
WITH unknown AS (
    SELECT
        customer_id,
        min(ordered_at) + (0.5 + pg_temp.draw(customer_id, 'time to register') * 2.5) * interval '1 day' AS registers_at
    FROM shop.orders
    WHERE
        ordered_at >= %(since)s - interval '10 days' AND customer_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM shop.customers WHERE customers.customer_id = orders.customer_id)
    GROUP BY customer_id
)

INSERT INTO shop.customers (customer_id, full_name, email, registered_at, country_code, updated_at)
SELECT
    customer_id, 'Customer ' || customer_id, lower(customer_id) || '@example.com', registers_at, 'US',
    pg_temp.clock(registers_at, registers_at)
FROM unknown
WHERE registers_at < %(until)s
ON CONFLICT DO NOTHING;

-- :: customers
UPDATE shop.customers
SET
    deleted_at = pg_temp.clock(pg_temp.moment(customer_id), updated_at),
    updated_at = pg_temp.clock(pg_temp.moment(customer_id), updated_at)
WHERE
    deleted_at IS NULL
    AND pg_temp.draw(customer_id || %(until)s, 'leaves') < 0.2 / (SELECT count(*) FROM shop.customers);
