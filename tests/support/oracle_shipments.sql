-- Shipments, their lines and warehouses, in SQL over shop.* alone. A shop may lack the three tables.

DO $$ BEGIN
    IF to_regclass('shop.shipments') IS NULL THEN
        CREATE TABLE oracle.shop_shipments (
            shipment_id text, order_id text, warehouse_code text, carrier text, service text, tracking_number text,
            shipped_at timestamptz, delivered_at timestamptz, cost numeric, currency text, status text,
            updated_at timestamptz, deleted_at timestamptz
        );
        CREATE TABLE oracle.shop_shipment_items (
            shipment_id text, order_id text, line_number integer, quantity numeric, updated_at timestamptz,
            deleted_at timestamptz
        );
        CREATE TABLE oracle.shop_warehouses (
            code text, name text, city text, country_code text, updated_at timestamptz, deleted_at timestamptz
        );
    ELSE
        CREATE VIEW oracle.shop_shipments AS SELECT * FROM shop.shipments;
        CREATE VIEW oracle.shop_shipment_items AS SELECT * FROM shop.shipment_items;
        CREATE VIEW oracle.shop_warehouses AS SELECT * FROM shop.warehouses;
    END IF;
END $$;

CREATE VIEW oracle.shipments AS
SELECT
    shipments.shipment_id::text AS shipment_id,
    orders.order_id,
    orders.order_date,
    orders.ordered_at,
    orders.customer_id,
    CASE WHEN shipments.warehouse_code::text ~ '\S' THEN shipments.warehouse_code::text END AS warehouse_code,
    oracle.trimmed(shipments.carrier::text) AS carrier,
    oracle.trimmed(shipments.service::text) AS service,
    oracle.trimmed(shipments.tracking_number::text) AS tracking_number,
    oracle.trimmed(shipments.status::text) AS status,
    oracle.happened(shipments.shipped_at, shipments.updated_at) AS shipped_at,
    oracle.happened(shipments.delivered_at, shipments.updated_at) AS delivered_at,
    CASE
        WHEN
            oracle.is_number(shipments.cost, 14, oracle.decimals(oracle.currency(shipments.currency::text)))
            AND oracle.currency(shipments.currency::text) IN (SELECT code FROM oracle.iso_4217)
            THEN shipments.cost::numeric(18, 4)
    END AS cost,
    CASE
        WHEN oracle.currency(shipments.currency::text) IN (SELECT code FROM oracle.iso_4217)
            THEN oracle.currency(shipments.currency::text)
    END AS currency,
    oracle.trimmed(shipments.status::text) IN ('shipped', 'delivered', 'returned', 'lost') AS is_shipped
FROM oracle.shop_shipments AS shipments
INNER JOIN oracle.orders AS orders ON shipments.order_id::text = orders.order_id
WHERE
    shipments.deleted_at IS NULL
    AND shipments.shipment_id::text ~ '\S'
    AND oracle.trimmed(shipments.status::text)
    IN ('pending', 'shipped', 'delivered', 'returned', 'lost', 'cancelled')
    AND oracle.clock_is_sane(shipments.updated_at);

CREATE VIEW oracle.shipment_items AS
SELECT
    items.shipment_id::text AS shipment_id,
    orders.order_id,
    orders.order_date,
    orders.ordered_at,
    items.line_number,
    items.quantity::numeric AS quantity
FROM oracle.shop_shipment_items AS items
INNER JOIN oracle.orders AS orders ON items.order_id::text = orders.order_id
WHERE
    items.deleted_at IS NULL
    AND items.shipment_id::text ~ '\S'
    AND oracle.is_number(items.quantity::numeric, 12, 6) AND items.quantity > 0
    AND oracle.clock_is_sane(items.updated_at);

-- What the shop has sent of each order: whatever is not cancelled.
CREATE VIEW oracle.fulfilment AS
SELECT
    order_id,
    count(*) AS shipments,
    count(*) FILTER (WHERE is_shipped) AS shipped,
    min(shipped_at) AS shipped_at,
    max(shipped_at) AS last_shipped_at,
    CASE WHEN bool_and(status = 'delivered') THEN max(delivered_at) END AS delivered_at,
    bool_and(status = 'delivered') AS is_delivered
FROM oracle.shipments
WHERE status <> 'cancelled'
GROUP BY order_id;

CREATE VIEW oracle.shipped_lines AS
SELECT
    items.order_id,
    items.line_number,
    coalesce(sum(items.quantity) FILTER (WHERE shipments.is_shipped), 0) AS quantity
FROM oracle.shipment_items AS items
INNER JOIN oracle.shipments AS shipments
    ON items.shipment_id = shipments.shipment_id AND items.order_id = shipments.order_id
WHERE shipments.status <> 'cancelled'
GROUP BY items.order_id, items.line_number;

CREATE TABLE oracle.seen_warehouses AS SELECT 0 AS look, warehouses.* FROM oracle.shop_warehouses AS warehouses WHERE false;

CREATE FUNCTION oracle.look_at_warehouses() RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO oracle.seen_warehouses
    SELECT currval('oracle.looks'), there.* FROM oracle.shop_warehouses AS there
    WHERE to_jsonb(there) IS DISTINCT FROM (
        SELECT to_jsonb(seen) - 'look' FROM oracle.seen_warehouses AS seen
        WHERE seen.code = there.code ORDER BY seen.look DESC LIMIT 1
    );
    SELECT currval('oracle.looks');
$$;

CREATE FUNCTION oracle.reconcile_warehouses() RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO oracle.seen_warehouses
    SELECT (jsonb_populate_record(
        NULL::oracle.seen_warehouses,
        coalesce(to_jsonb(there), to_jsonb(last)) || jsonb_build_object(
            'look', nextval('oracle.looks'), 'updated_at', last.updated_at,
            'deleted_at', CASE WHEN there IS NULL THEN now() ELSE there.deleted_at END
        )
    )).*
    FROM (
        SELECT DISTINCT ON (code) * FROM oracle.seen_warehouses ORDER BY code, updated_at DESC, look DESC
    ) AS last
    LEFT JOIN oracle.shop_warehouses AS there ON last.code = there.code
    WHERE
        CASE
            WHEN there.code IS NULL THEN last.deleted_at IS NULL
            ELSE
                there.updated_at < last.updated_at
                AND to_jsonb(there) - 'updated_at' <> to_jsonb(last) - 'look' - 'updated_at'
        END;
    SELECT currval('oracle.looks');
$$;

CREATE VIEW oracle.warehouses AS
WITH valid AS (
    SELECT DISTINCT ON (code::text, updated_at)
        code::text AS warehouse_code,
        oracle.trimmed(name) AS warehouse_name,
        oracle.trimmed(city) AS city,
        CASE
            WHEN is_deleted OR oracle.country(country_code) IN (SELECT code FROM oracle.iso_3166)
                THEN oracle.country(country_code)
        END AS country_code,
        is_deleted,
        updated_at
    FROM oracle.seen_warehouses
    CROSS JOIN LATERAL (SELECT deleted_at IS NOT NULL AS is_deleted) AS state_of_row
    WHERE code::text ~ '\S' AND oracle.clock_is_sane(updated_at)
    ORDER BY code::text, updated_at, look DESC
),

compared AS (
    SELECT
        *,
        to_jsonb(valid) - 'updated_at' IS DISTINCT FROM lag(to_jsonb(valid) - 'updated_at')
            OVER (PARTITION BY warehouse_code ORDER BY updated_at) AS is_other
    FROM valid
)

SELECT
    *,
    CASE WHEN lag(updated_at) OVER clock IS NULL THEN '-infinity' ELSE updated_at END AS valid_from,
    coalesce(lead(updated_at) OVER clock, 'infinity') AS valid_to
FROM compared
WHERE is_other
WINDOW clock AS (PARTITION BY warehouse_code ORDER BY updated_at);
