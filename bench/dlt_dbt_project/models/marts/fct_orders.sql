with

lines as (
    select order_id, count(*) as lines, sum(quantity) as units, sum(total_price) as total_price
    from {{ ref("curated_order_lines") }}
    group by order_id
),

-- Amounts are added and compared within the order's currency alone.
payments as (
    select *, currency = order_currency as is_of_order from {{ ref("cleansed_payments") }} where not is_deleted
),

paid as (
    select
        order_id,
        sum(
            case
                when not is_of_order then 0
                when status = 'captured' then amount
                when status = 'refunded' then -amount
                else 0
            end
        ) as paid_amount,
        count(*) filter (not is_of_order and status in ('captured', 'refunded')) as payments_in_other_currencies
    from payments
    group by order_id
),

main_methods as (
    select order_id, method from payments
    where status = 'captured'
    qualify row_number() over (partition by order_id order by is_of_order desc, amount desc, payment_id asc) = 1
)

select
    orders.order_id,
    dates.date_id,
    case when orders.customer_id is null then {{ unknown_key() }} else customers.customer_key end as customer_key,
    payment_methods.payment_method_key,
    coalesce(lines.lines, 0)::integer as lines,
    coalesce(lines.units, 0)::decimal(38, 6) as units,
    coalesce(lines.total_price, 0)::decimal(38, 4) as total_price,
    coalesce(paid.paid_amount, 0)::decimal(38, 4) as paid_amount,
    coalesce(paid.payments_in_other_currencies, 0)::integer as payments_in_other_currencies,
    orders.currency,
    orders.status,
    orders.ordered_at,
    orders.shipped_at,
    orders.delivered_at,
    case when orders.shipped_at >= orders.ordered_at then {{ hours("orders.ordered_at", "orders.shipped_at") }} end
        as hours_to_ship,
    case when orders.delivered_at >= orders.ordered_at then {{ hours("orders.ordered_at", "orders.delivered_at") }} end
        as hours_to_deliver
from {{ ref("curated_orders") }} as orders
left join lines on lines.order_id = orders.order_id
left join paid on paid.order_id = orders.order_id
left join main_methods on main_methods.order_id = orders.order_id
left join {{ ref("dim_date") }} as dates on dates.date = orders.order_date
left join {{ ref("dim_customers") }} as customers
    on customers.customer_id = orders.customer_id and {{ valid_at("customers", "orders.ordered_at") }}
left join {{ ref("dim_payment_methods") }} as payment_methods
    on payment_methods.method = coalesce(main_methods.method, 'unknown')
