select
    items.order_id,
    items.line_number,
    items.order_date,
    orders.ordered_at,
    orders.status as order_status,
    orders.customer_id,
    customers.customer_name,
    customers.city as customer_city,
    customers.country_code as customer_country_code,
    items.product_id,
    products.product_name,
    products.category,
    products.manufacturer,
    items.quantity,
    items.unit_price,
    items.discount,
    items.total_price,
    orders.currency
from {{ ref("cleansed_order_items") }} as items
inner join {{ ref("curated_orders") }} as orders using (order_id)
left join {{ ref("cleansed_customers") }} as customers
    on customers.customer_id = orders.customer_id and {{ valid_at("customers", "orders.ordered_at") }}
left join {{ ref("cleansed_products") }} as products
    on products.product_id = items.product_id and {{ valid_at("products", "orders.ordered_at") }}
where not items.is_deleted
