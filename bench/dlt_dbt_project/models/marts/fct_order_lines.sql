select
    lines.order_id,
    lines.line_number,
    dates.date_id,
    case when lines.customer_id is null then {{ unknown_key() }} else customers.customer_key end as customer_key,
    products.product_key,
    lines.customer_id,
    lines.product_id,
    lines.quantity,
    lines.unit_price,
    lines.discount,
    lines.total_price,
    lines.currency,
    lines.order_status,
    lines.ordered_at
from {{ ref("curated_order_lines") }} as lines
left join {{ ref("dim_date") }} as dates on dates.date = lines.order_date
left join {{ ref("dim_customers") }} as customers
    on customers.customer_id = lines.customer_id and {{ valid_at("customers", "lines.ordered_at") }}
left join {{ ref("dim_products") }} as products
    on products.product_id = lines.product_id and {{ valid_at("products", "lines.ordered_at") }}
