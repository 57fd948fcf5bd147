select
    order_date,
    currency,
    count(distinct order_id) as orders,
    count(*) as lines,
    sum(quantity) as units,
    sum(total_price) as gross,
    coalesce(sum(total_price) filter (order_status not in ('cancelled', 'returned')), 0) as net
from {{ ref("curated_order_lines") }}
group by order_date, currency
