{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='append_new_columns',
        pre_hook="{{ delete_run_dates() }}",
        indexes=[{'columns': ['date_id']}],
        tags=['partitioned'],
    )
}}

with

orders as (

    select * from {{ ref('stg_lake__orders') }}
    where {{ run_dates('order_date') }}

),

lines as (

    select
        order_id,
        count(*) as lines,
        sum(quantity) as units,
        sum(total_price) as total_price
    from {{ ref('stg_lake__order_lines') }}
    where {{ run_dates('order_date') }}
    group by order_id

),

payments as (

    select * from {{ ref('stg_lake__payments') }}
    where {{ run_dates('order_date') }}

),

paid as (

    select
        order_id,
        sum(case status when 'captured' then amount when 'refunded' then -amount else 0 end) as paid_amount
    from payments
    group by order_id

),

-- Ties are broken byte by byte, so that the collation of a warehouse has no say in the result.
main_methods as (

    {{
        first_of_each(
            ['order_id'],
            ['amount desc', bytewise('payment_id') ~ ' asc'],
            'payments',
            columns=['order_id', 'method'],
            where="status = 'captured'"
        )
    }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

customers as (

    select * from {{ ref('dim_customers') }}

),

payment_methods as (

    select * from {{ ref('dim_payment_methods') }}

)

-- Left joins: an order that finds no member gets a null key, which the contract refuses. An inner join would lose it.
select
    -- grain
    orders.order_id,

    -- dimensions
    dates.date_id,
    case when orders.customer_id is null then {{ unknown_key() }} else customers.customer_key end as customer_key,
    payment_methods.payment_method_key,

    -- measures
    coalesce(lines.lines, 0)::integer as lines,
    coalesce(lines.units, 0) as units,
    coalesce(lines.total_price, 0)::numeric(18, 2) as total_price,
    coalesce(paid.paid_amount, 0)::numeric(18, 2) as paid_amount,

    -- attributes of the order
    orders.currency,
    orders.status,
    orders.ordered_at,
    orders.shipped_at,
    orders.delivered_at,

    -- durations
    ({{ hours_between('orders.ordered_at', 'orders.shipped_at') }})::numeric(12, 2) as hours_to_ship,
    ({{ hours_between('orders.ordered_at', 'orders.delivered_at') }})::numeric(12, 2) as hours_to_deliver

from orders
left join lines on orders.order_id = lines.order_id
left join paid on orders.order_id = paid.order_id
left join main_methods on orders.order_id = main_methods.order_id
left join dates on orders.order_date = dates.date
left join customers
    on orders.customer_id = customers.customer_id and {{ valid_at('customers', 'orders.ordered_at') }}
left join payment_methods on coalesce(main_methods.method, 'unknown') = payment_methods.method
