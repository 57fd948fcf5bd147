-- The last version of each line.
select
    *,
    {{ reasons({
        "product_id_missing": "product_id is not null",
        "quantity_missing": "quantity is not null",
        "quantity_not_positive": "quantity > 0",
        "unit_price_missing": "unit_price is not null",
        "unit_price_negative": "unit_price >= 0",
        "discount_negative": "discount >= 0",
        "discount_too_precise": "order_currency is null or discount = " ~ rounded("discount", "order_currency"),
        "total_price_negative": "total_price >= 0",
        "order_unknown": "order_reasons is not null",
        "order_quarantined": "order_reasons = ''",
    }) }} as reasons
from (
    select
        *,
        {{ rounded("quantity * unit_price - discount", "order_currency") }} as total_price
    from (
        select
            items.order_id,
            items.line_number::integer as line_number,
            {{ key_or_null("items.product_id") }} as product_id,
            items.quantity::decimal(18, 6) as quantity,
            items.unit_price::decimal(12, 4)::decimal(24, 8) as unit_price,
            coalesce(items.discount, 0)::decimal(12, 2)::decimal(18, 4) as discount,
            orders.order_date,
            orders.reasons as order_reasons,
            orders.currency as order_currency,
            items.updated_at,
            items.deleted_at is not null or coalesce(orders.is_deleted, false) as is_deleted
        from {{ source("raw", "order_items") }} as items
        left join {{ ref("stg_orders") }} as orders using (order_id)
        qualify row_number() over (partition by items.order_id, items.line_number order by items.updated_at desc) = 1
    ) as typed
) as priced
