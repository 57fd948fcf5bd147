select
    *,
    {{ reasons({
        "product_id_missing": trimmed("product_id") ~ " is not null",
        "unit_price_missing": "unit_price is not null",
        "unit_price_negative": "unit_price >= 0",
        "currency_missing": "currency is not null",
        "currency_not_iso_4217": "currency in (select code from " ~ source("raw", "currencies") ~ ")",
    }) }} as reasons
from (
    select
        product_id,
        {{ trimmed("product_name") }} as product_name,
        {{ trimmed("category") }} as category,
        {{ trimmed("manufacturer") }} as manufacturer,
        unit_price::decimal(18, 2) as unit_price,
        upper({{ trimmed("currency") }}) as currency,
        updated_at,
        deleted_at is not null as is_deleted
    from {{ source("raw", "products") }}
) as typed
