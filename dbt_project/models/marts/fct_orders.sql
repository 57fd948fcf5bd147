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

shipments as (

    select * from {{ ref('stg_lake__shipments') }}
    where {{ run_dates('order_date') }} and status != 'cancelled'

),

shipment_items as (

    select * from {{ ref('stg_lake__shipment_items') }}
    where {{ run_dates('order_date') }}

),

-- An order with shipments has been shipped when they have. It is delivered with the last of them.
shipped as (

    select
        order_id,
        count(*) as shipments,
        sum(is_shipped) as shipments_shipped,
        sum(is_delivered) as shipments_delivered,
        min(shipped_at) as first_shipped_at,
        max(shipped_at) as last_shipped_at,
        case when sum(is_delivered) = count(*) then max(delivered_at) end as all_delivered_at
    from shipments
    group by order_id

),

shipped_lines as (

    select
        shipment_items.order_id,
        shipment_items.line_number,
        sum(shipment_items.quantity * shipments.is_shipped) as quantity
    from shipment_items
    inner join shipments
        on shipment_items.shipment_id = shipments.shipment_id and shipment_items.order_id = shipments.order_id
    group by shipment_items.order_id, shipment_items.line_number

),

-- units_shipped is null where the shop does not list what is in the shipments of an order.
lines as (

    select
        order_lines.order_id,
        count(*) as lines,
        sum(order_lines.quantity) as units,
        sum(order_lines.total_price) as total_price,
        sum(shipped_lines.quantity) as units_shipped,
        sum(case when order_lines.quantity > coalesce(shipped_lines.quantity, 0) then 1 else 0 end) as lines_to_ship
    from {{ ref('stg_lake__order_lines') }} as order_lines
    left join shipped_lines
        on order_lines.order_id = shipped_lines.order_id and order_lines.line_number = shipped_lines.line_number
    where {{ run_dates('order_lines.order_date') }}
    group by order_lines.order_id

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

),

-- Shipments win over the order's own instants.
fulfilled as (

    select
        orders.*,
        lines.lines,
        lines.units,
        lines.total_price,
        lines.units_shipped,
        shipped.shipments,
        case when shipped.shipments is null then orders.shipped_at else shipped.first_shipped_at end
            as first_shipped_at,
        case when shipped.shipments is null then orders.shipped_at else shipped.last_shipped_at end as last_shipped_at,
        case when shipped.shipments is null then orders.delivered_at else shipped.all_delivered_at end
            as all_delivered_at,
        case
            when shipped.shipments is null and orders.delivered_at is not null then 'delivered'
            when shipped.shipments is null and orders.shipped_at is not null then 'shipped'
            when coalesce(shipped.shipments_shipped, 0) = 0 then 'unshipped'
            when
                shipped.shipments_shipped < shipped.shipments
                or (lines.units_shipped is not null and lines.lines_to_ship > 0)
                then 'partially_shipped'
            when shipped.shipments_delivered = shipped.shipments then 'delivered'
            else 'shipped'
        end as fulfilment_state
    from orders
    left join shipped on orders.order_id = shipped.order_id
    left join lines on orders.order_id = lines.order_id

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
    coalesce(orders.lines, 0)::integer as lines,
    coalesce(orders.units, 0)::numeric(38, 6) as units,
    coalesce(orders.total_price, 0)::numeric(38, 4) as total_price,
    coalesce(paid.paid_amount, 0)::numeric(38, 4) as paid_amount,
    coalesce(paid.payments_in_other_currencies, 0)::integer as payments_in_other_currencies,

    -- attributes of the order
    orders.currency,
    orders.status,
    orders.ordered_at,
    orders.first_shipped_at as shipped_at,
    orders.all_delivered_at as delivered_at,

    -- durations
    (case
        when orders.first_shipped_at >= orders.ordered_at
            then {{ hours_between('orders.ordered_at', 'orders.first_shipped_at') }}
    end)::numeric(12, 2) as hours_to_ship,
    (case
        when orders.all_delivered_at >= orders.ordered_at
            then {{ hours_between('orders.ordered_at', 'orders.all_delivered_at') }}
    end)::numeric(12, 2) as hours_to_deliver,

    -- fulfilment
    coalesce(orders.shipments, 0)::integer as shipments,
    orders.units_shipped::numeric(38, 6) as units_shipped,
    orders.fulfilment_state,
    orders.last_shipped_at,
    (case
        when orders.last_shipped_at >= orders.ordered_at
            then {{ hours_between('orders.ordered_at', 'orders.last_shipped_at') }}
    end)::numeric(12, 2) as hours_to_last_shipment,
    orders.shipped_at as order_shipped_at,
    orders.delivered_at as order_delivered_at

from fulfilled as orders
left join paid on orders.order_id = paid.order_id
left join main_methods on orders.order_id = main_methods.order_id
left join dates on orders.order_date = dates.date
left join customers
    on orders.customer_id = customers.customer_id and {{ valid_at('customers', 'orders.ordered_at') }}
left join payment_methods on coalesce(main_methods.method, 'unknown') = payment_methods.method
