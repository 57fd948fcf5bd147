select
    *,
    case
        when recency_days > 180 then 'dormant'
        when recency_days > 90 then 'at_risk'
        when orders >= 50 then 'champion'
        when orders >= 10 then 'loyal'
        else 'recent'
    end as segment
from (
    select
        customer_id,
        currency,
        count(distinct order_id) as orders,
        sum(quantity) as units,
        sum(total_price) as spend,
        min(order_date) as first_order_on,
        max(order_date) as last_order_on,
        date_diff('day', max(order_date), (select max(order_date) from {{ ref("curated_order_lines") }})) as recency_days
    from {{ ref("curated_order_lines") }}
    where customer_id is not null and order_status not in ('cancelled', 'returned')
    group by customer_id, currency
) as profiles
