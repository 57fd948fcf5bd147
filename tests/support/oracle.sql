-- What the contract says about a shop, in SQL over shop.* alone. Nothing here knows how the lakehouse works.
--
-- The views show what ought to be in the marts. A shop holds only the current version of a row, so customers and
-- products are also remembered: `SELECT oracle.look()` notes every version that stands in the shop at the moment.

CREATE SCHEMA oracle;

CREATE TABLE oracle.setting AS
SELECT
    'UTC'::text AS timezone,
    DATE '2017-01-01' AS start_date;

CREATE TABLE oracle.iso_4217 AS
SELECT string_to_table(
    'AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF '
    'CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD '
    'HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD '
    'MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN '
    'PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD '
    'TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW '
    -- Withdrawn.
    'BGN DEM FRF HRK ITL', ' '
) AS code;

-- Decimals of an amount, where they are not two.
CREATE TABLE oracle.minor_units AS
SELECT
    code,
    decimals
FROM (
    VALUES
    (0, 'BIF CLP DJF GNF ISK ITL JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF'),
    (3, 'BHD IQD JOD KWD LYD OMR TND'),
    (4, 'CLF UYW')
) AS listed (decimals, codes)
CROSS JOIN LATERAL string_to_table(codes, ' ') AS code;

CREATE FUNCTION oracle.decimals(currency text) RETURNS integer
RETURN coalesce((SELECT decimals FROM oracle.minor_units WHERE code = currency), 2);

CREATE TABLE oracle.iso_3166 AS
SELECT string_to_table(
    'AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA '
    'CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA '
    'GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP '
    'KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS '
    'MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS '
    'RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW '
    'TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW '
    -- Withdrawn.
    'AN CS DD SU YU', ' '
) AS code;

-- Text without surrounding white space; nothing counts as null.
CREATE FUNCTION oracle.trimmed(value text) RETURNS text
RETURN nullif(regexp_replace(value, '^\s+|\s+$', '', 'g'), '');

CREATE FUNCTION oracle.country(value text) RETURNS text
RETURN CASE upper(oracle.trimmed(value)) WHEN 'UK' THEN 'GB' WHEN 'EL' THEN 'GR' ELSE upper(oracle.trimmed(value)) END;

CREATE FUNCTION oracle.currency(value text) RETURNS text
RETURN CASE upper(oracle.trimmed(value)) WHEN 'RMB' THEN 'CNY' ELSE upper(oracle.trimmed(value)) END;

-- A number that is one: at least zero, neither NaN nor infinite, with so many digits and decimals at most.
CREATE FUNCTION oracle.is_number(value numeric, digits integer, decimals integer) RETURNS boolean
RETURN coalesce(value >= 0 AND value < 10::numeric ^ digits AND value = round(value, decimals), false);

-- What has happened by the time that a row is changed, and not before 1900; a day of grace.
CREATE FUNCTION oracle.happened(moment timestamptz, updated_at timestamptz) RETURNS timestamptz
RETURN CASE WHEN moment BETWEEN timestamptz '1900-01-01 00:00+00' AND updated_at + interval '24 hours' THEN moment END;

CREATE FUNCTION oracle.day(moment timestamptz) RETURNS date
RETURN (moment AT TIME ZONE (SELECT timezone FROM oracle.setting))::date;

CREATE FUNCTION oracle.clock_is_sane(updated_at timestamptz) RETURNS boolean
RETURN updated_at <= now() + interval '24 hours';

CREATE VIEW oracle.orders AS
SELECT
    order_id::text AS order_id,
    CASE WHEN customer_id::text ~ '\S' THEN customer_id::text END AS customer_id,
    oracle.day(ordered_at) AS order_date,
    ordered_at,
    oracle.trimmed(status::text) AS status,
    oracle.currency(currency::text) AS currency,
    oracle.happened(shipped_at, updated_at) AS shipped_at,
    oracle.happened(delivered_at, updated_at) AS delivered_at
FROM shop.orders, oracle.setting
WHERE
    deleted_at IS NULL
    AND order_id::text ~ '\S'
    AND ordered_at <= updated_at + interval '24 hours'
    AND oracle.trimmed(status::text) IN ('placed', 'paid', 'shipped', 'delivered', 'cancelled', 'returned')
    AND oracle.currency(currency::text) IN (SELECT code FROM oracle.iso_4217)
    AND oracle.clock_is_sane(updated_at)
    AND oracle.day(ordered_at) BETWEEN start_date AND greatest(oracle.day(updated_at), start_date) + 1;

CREATE VIEW oracle.order_items AS
SELECT *
FROM (
    SELECT
        orders.order_id,
        items.line_number,
        items.product_id::text AS product_id,
        items.quantity::numeric AS quantity,
        items.unit_price,
        coalesce(items.discount, 0) AS discount,
        round(
            items.quantity::numeric * items.unit_price - coalesce(items.discount, 0), oracle.decimals(orders.currency)
        ) AS total_price
    FROM shop.order_items AS items
    INNER JOIN oracle.orders AS orders ON items.order_id::text = orders.order_id
    WHERE
        items.deleted_at IS NULL
        AND items.product_id::text ~ '\S'
        AND oracle.is_number(items.quantity::numeric, 12, 6) AND items.quantity > 0
        AND oracle.is_number(items.unit_price, 16, 8)
        AND oracle.is_number(coalesce(items.discount, 0), 14, oracle.decimals(orders.currency))
        AND oracle.clock_is_sane(items.updated_at)
) AS priced
WHERE total_price BETWEEN 0 AND 98999999999999;

CREATE VIEW oracle.payments AS
SELECT
    payments.payment_id::text AS payment_id,
    orders.order_id,
    oracle.trimmed(payments.method::text) AS method,
    payments.amount,
    oracle.trimmed(payments.status::text) AS status,
    oracle.currency(payments.currency::text) = orders.currency AS is_in_currency_of_order
FROM shop.payments AS payments
INNER JOIN oracle.orders AS orders ON payments.order_id::text = orders.order_id
WHERE
    payments.deleted_at IS NULL
    AND payments.payment_id::text ~ '\S'
    AND oracle.is_number(payments.amount, 14, oracle.decimals(oracle.currency(payments.currency::text)))
    AND oracle.trimmed(payments.method::text) IN ('card', 'paypal', 'voucher', 'transfer', 'cash', 'other')
    AND oracle.trimmed(payments.status::text) IN ('authorised', 'captured', 'refunded', 'failed')
    AND oracle.currency(payments.currency::text) IN (SELECT code FROM oracle.iso_4217)
    AND oracle.clock_is_sane(payments.updated_at);

-- Every version that was ever seen, valid or not, in the order in which they were seen.
CREATE TABLE oracle.seen_customers AS SELECT 0 AS look, customers.* FROM shop.customers WHERE false;
CREATE TABLE oracle.seen_products AS SELECT 0 AS look, products.* FROM shop.products WHERE false;
CREATE SEQUENCE oracle.looks;

CREATE FUNCTION oracle.look() RETURNS bigint LANGUAGE sql AS $$
    SELECT nextval('oracle.looks');
    INSERT INTO oracle.seen_customers
    SELECT currval('oracle.looks'), there.* FROM shop.customers AS there
    WHERE to_jsonb(there) IS DISTINCT FROM (
        SELECT to_jsonb(seen) - 'look' FROM oracle.seen_customers AS seen
        WHERE seen.customer_id = there.customer_id ORDER BY seen.look DESC LIMIT 1
    );
    INSERT INTO oracle.seen_products
    SELECT currval('oracle.looks'), there.* FROM shop.products AS there
    WHERE to_jsonb(there) IS DISTINCT FROM (
        SELECT to_jsonb(seen) - 'look' FROM oracle.seen_products AS seen
        WHERE seen.product_id = there.product_id ORDER BY seen.look DESC LIMIT 1
    );
    SELECT currval('oracle.looks');
$$;

-- A comparison that sees every row: what was there, was not marked and is gone, is deleted as of its last version; and
-- a row whose clock went back counts as of the clock that was known of it.
CREATE FUNCTION oracle.reconcile() RETURNS bigint LANGUAGE sql AS $$
    SELECT oracle.look();
    INSERT INTO oracle.seen_customers
    SELECT (jsonb_populate_record(
        NULL::oracle.seen_customers,
        coalesce(to_jsonb(there), to_jsonb(last)) || jsonb_build_object(
            'look', nextval('oracle.looks'), 'updated_at', last.updated_at,
            'deleted_at', CASE WHEN there IS NULL THEN now() ELSE there.deleted_at END
        )
    )).*
    FROM (
        SELECT DISTINCT ON (customer_id) * FROM oracle.seen_customers
        ORDER BY customer_id, updated_at DESC, look DESC
    ) AS last
    LEFT JOIN shop.customers AS there ON last.customer_id = there.customer_id
    WHERE
        CASE
            WHEN there.customer_id IS NULL THEN last.deleted_at IS NULL
            ELSE
                there.updated_at < last.updated_at
                AND to_jsonb(there) - 'updated_at' <> to_jsonb(last) - 'look' - 'updated_at'
        END;
    INSERT INTO oracle.seen_products
    SELECT (jsonb_populate_record(
        NULL::oracle.seen_products,
        coalesce(to_jsonb(there), to_jsonb(last)) || jsonb_build_object(
            'look', nextval('oracle.looks'), 'updated_at', last.updated_at,
            'deleted_at', CASE WHEN there IS NULL THEN now() ELSE there.deleted_at END
        )
    )).*
    FROM (
        SELECT DISTINCT ON (product_id) * FROM oracle.seen_products
        ORDER BY product_id, updated_at DESC, look DESC
    ) AS last
    LEFT JOIN shop.products AS there ON last.product_id = there.product_id
    WHERE
        CASE
            WHEN there.product_id IS NULL THEN last.deleted_at IS NULL
            ELSE
                there.updated_at < last.updated_at
                AND to_jsonb(there) - 'updated_at' <> to_jsonb(last) - 'look' - 'updated_at'
        END;
    SELECT currval('oracle.looks');
$$;

-- Valid versions with the time for which each of them holds; of two with one clock the last seen counts. A version that
-- shows what the one before it shows is none of its own.
CREATE VIEW oracle.customers AS
WITH valid AS (
    SELECT DISTINCT ON (customer_id::text, updated_at)
        customer_id::text AS customer_id,
        oracle.trimmed(full_name) AS customer_name,
        CASE
            WHEN is_deleted OR oracle.trimmed(email) ~ '^[^@\s]+@[^@\s]+\.[^@\s]+$' THEN lower(oracle.trimmed(email))
        END AS customer_email,
        CASE
            WHEN
                is_deleted
                OR (
                    date_of_birth >= DATE '1900-01-01'
                    AND coalesce(date_of_birth <= oracle.day(registered_at), true)
                )
                THEN date_of_birth
        END AS date_of_birth,
        oracle.day(
            CASE
                WHEN is_deleted AND registered_at IS NOT NULL
                    THEN greatest(least(registered_at, '9999-12-31 00:00+00'), '0001-01-01 00:00+00')
                ELSE oracle.happened(registered_at, updated_at)
            END
        ) AS registration_date,
        oracle.trimmed(address) AS address,
        oracle.trimmed(city) AS city,
        oracle.trimmed(state) AS state,
        oracle.trimmed(postal_code) AS postal_code,
        CASE
            WHEN is_deleted OR oracle.country(country_code) IN (SELECT code FROM oracle.iso_3166)
                THEN oracle.country(country_code)
        END AS country_code,
        is_deleted,
        updated_at
    FROM oracle.seen_customers
    CROSS JOIN LATERAL (SELECT deleted_at IS NOT NULL AS is_deleted) AS state_of_row
    WHERE customer_id::text ~ '\S' AND oracle.clock_is_sane(updated_at)
    ORDER BY customer_id::text, updated_at, look DESC
),

compared AS (
    SELECT
        *,
        to_jsonb(valid) - 'updated_at' IS DISTINCT FROM lag(to_jsonb(valid) - 'updated_at')
            OVER (PARTITION BY customer_id ORDER BY updated_at) AS is_other
    FROM valid
)

SELECT
    *,
    CASE WHEN lag(updated_at) OVER clock IS NULL THEN '-infinity' ELSE updated_at END AS valid_from,
    coalesce(lead(updated_at) OVER clock, 'infinity') AS valid_to
FROM compared
WHERE is_other
WINDOW clock AS (PARTITION BY customer_id ORDER BY updated_at);

CREATE VIEW oracle.products AS
WITH valid AS (
    SELECT DISTINCT ON (product_id::text, updated_at)
        product_id::text AS product_id,
        oracle.trimmed(product_name) AS product_name,
        oracle.trimmed(category) AS category,
        oracle.trimmed(manufacturer) AS manufacturer,
        CASE
            WHEN
                oracle.is_number(CASE WHEN is_deleted THEN abs(unit_price) ELSE unit_price END, 16, 8)
                AND (is_deleted OR oracle.currency(currency) IN (SELECT code FROM oracle.iso_4217))
                THEN unit_price::numeric(24, 8)
        END AS unit_price,
        CASE
            WHEN is_deleted OR oracle.currency(currency) IN (SELECT code FROM oracle.iso_4217)
                THEN oracle.currency(currency)
        END AS currency,
        is_deleted,
        updated_at
    FROM oracle.seen_products
    CROSS JOIN LATERAL (SELECT deleted_at IS NOT NULL AS is_deleted) AS state_of_row
    WHERE product_id::text ~ '\S' AND oracle.clock_is_sane(updated_at)
    ORDER BY product_id::text, updated_at, look DESC
),

compared AS (
    SELECT
        *,
        to_jsonb(valid) - 'updated_at' IS DISTINCT FROM lag(to_jsonb(valid) - 'updated_at')
            OVER (PARTITION BY product_id ORDER BY updated_at) AS is_other
    FROM valid
)

SELECT
    *,
    CASE WHEN lag(updated_at) OVER clock IS NULL THEN '-infinity' ELSE updated_at END AS valid_from,
    coalesce(lead(updated_at) OVER clock, 'infinity') AS valid_to
FROM compared
WHERE is_other
WINDOW clock AS (PARTITION BY product_id ORDER BY updated_at);
