select
    surrogate_key as product_key,
    product_id,
    case when product_id is null then 'Unknown' else product_name end as product_name,
    category,
    manufacturer,
    unit_price,
    currency,
    valid_from,
    valid_to,
    is_current,
    coalesce(is_deleted, false) as is_deleted,
    is_inferred
from ({{ members(ref("cleansed_products"), ref("curated_order_lines"), "product_id") }}) as members
