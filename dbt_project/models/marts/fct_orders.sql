{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='append_new_columns',
        pre_hook=["{{ follow_types() }}", "{{ delete_run_dates() }}"],
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

-- Amounts are added and compared only in the currency of the order.
payments as (

    select
        payments.*,
        case when payments.currency = orders.currency then 0 else 1 end as is_in_other_currency
    from {{ ref('stg_lake__payments') }} as payments
    inner join orders on payments.order_id = orders.order_id
    where {{ run_dates('payments.order_date') }}

),

paid as (

    select
        order_id,
        sum(
            case
                when is_in_other_currency = 1 then 0
                when status = 'captured' then amount
                when status = 'refunded' then -amount
                else 0
            end
        ) as paid_amount,
        sum(case when status in ('captured', 'refunded') then is_in_other_currency else 0 end)
            as payments_in_other_currencies
    from payments
    group by order_id

),

-- Ties are broken byte by byte, so that the result does not depend on the collation of a warehouse.
main_methods as (

    {{
        first_of_each(
            ['order_id'],
            ['is_in_other_currency asc', 'amount desc', binary_collation('payment_id') ~ ' asc'],
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

-- The joins are left joins: an order without a member gets a null key, which the contract refuses. An inner join would
-- lose the order.
select
    -- grain
    orders.order_id,

    -- dimensions
    dates.date_id,
    case when orders.customer_id is null then {{ unknown_key() }} else customers.customer_key end as customer_key,
    payment_methods.payment_method_key,

    -- measures
    coalesce(lines.lines, 0)::integer as lines,
    coalesce(lines.units, 0)::numeric(38, 6) as units,
    coalesce(lines.total_price, 0)::numeric(38, 4) as total_price,
    coalesce(paid.paid_amount, 0)::numeric(38, 4) as paid_amount,
    coalesce(paid.payments_in_other_currencies, 0)::integer as payments_in_other_currencies,

    -- attributes of the order
    orders.currency,
    orders.status,
    orders.ordered_at,
    orders.shipped_at,
    orders.delivered_at,

    -- durations
    (case
        when orders.shipped_at >= orders.ordered_at
            then {{ hours_between('orders.ordered_at', 'orders.shipped_at') }}
    end)::numeric(12, 2) as hours_to_ship,
    (case
        when orders.delivered_at >= orders.ordered_at
            then {{ hours_between('orders.ordered_at', 'orders.delivered_at') }}
    end)::numeric(12, 2) as hours_to_deliver

from orders
left join lines on orders.order_id = lines.order_id
left join paid on orders.order_id = paid.order_id
left join main_methods on orders.order_id = main_methods.order_id
left join dates on orders.order_date = dates.date
left join customers
    on orders.customer_id = customers.customer_id and {{ valid_at('customers', 'orders.ordered_at') }}
left join payment_methods on coalesce(main_methods.method, 'unknown') = payment_methods.method
