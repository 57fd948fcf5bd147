{%- set listed = "currency in (select code from " ~ source("raw", "currencies") ~ ")" %}
select
    * replace (
        {{ blanked("unit_price", "unit_price >= 0 and currency is not null and " ~ listed) }},
        {{ blanked("currency", listed) }}
    ),
    {{ reasons({"product_id_missing": trimmed("product_id") ~ " is not null"}) }} as reasons,
    {{ warnings({
        "unit_price_negative": "unit_price >= 0",
        "currency_not_iso_4217": listed,
        "product_id_has_unseen_characters": has_no_unseen_characters("product_id"),
        "unit_price_without_currency": "unit_price is null or currency is not null",
    }) }} as warnings
from (
    select
        product_id,
        {{ trimmed("product_name") }} as product_name,
        {{ trimmed("category") }} as category,
        {{ trimmed("manufacturer") }} as manufacturer,
        unit_price::decimal(12, 2)::decimal(24, 8) as unit_price,
        {{ code("currency") }} as currency,
        updated_at,
        deleted_at is not null as is_deleted
    from {{ source("raw", "products") }}
) as typed
