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

shipments as (

    select * from {{ ref('stg_lake__shipments') }}
    where {{ run_dates('order_date') }}

),

orders as (

    select * from {{ ref('stg_lake__orders') }}
    where {{ run_dates('order_date') }}

),

-- A line that names another order than its shipment does is not counted here.
contents as (

    select
        shipment_id,
        order_id,
        order_date,
        count(*) as lines,
        sum(quantity) as units
    from {{ ref('stg_lake__shipment_items') }}
    where {{ run_dates('order_date') }}
    group by shipment_id, order_id, order_date

),

dates as (

    select * from {{ ref('dim_date') }}

),

customers as (

    select * from {{ ref('dim_customers') }}

),

warehouses as (

    select * from {{ ref('dim_warehouses') }}

)

-- By date, too: an order that moved stands at both dates until the date that it left is derived again.
-- Left joins: a shipment that finds no member gets a null key, which the contract refuses. An inner join would lose it.
select
    -- grain
    shipments.shipment_id,

    -- dimensions
    dates.date_id,
    case when orders.customer_id is null then {{ unknown_key() }} else customers.customer_key end as customer_key,
    case when shipments.warehouse_code is null then {{ unknown_key() }} else warehouses.warehouse_key end
        as warehouse_key,
    orders.customer_id,
    shipments.warehouse_code,
    shipments.order_id,

    -- measures
    coalesce(contents.lines, 0)::integer as lines,
    coalesce(contents.units, 0)::numeric(38, 6) as units,
    shipments.cost,

    -- attributes of the shipment
    shipments.currency,
    shipments.carrier,
    shipments.service,
    shipments.tracking_number,
    shipments.status,
    orders.ordered_at,
    shipments.shipped_at,
    shipments.delivered_at,

    -- durations
    (case
        when shipments.shipped_at >= orders.ordered_at
            then {{ hours_between('orders.ordered_at', 'shipments.shipped_at') }}
    end)::numeric(12, 2) as hours_to_ship,
    (case
        when shipments.delivered_at >= shipments.shipped_at
            then {{ hours_between('shipments.shipped_at', 'shipments.delivered_at') }}
    end)::numeric(12, 2) as hours_in_transit

from shipments
left join orders on shipments.order_id = orders.order_id and shipments.order_date = orders.order_date
left join contents
    on
        shipments.shipment_id = contents.shipment_id
        and shipments.order_id = contents.order_id
        and shipments.order_date = contents.order_date
left join dates on shipments.order_date = dates.date
left join customers
    on orders.customer_id = customers.customer_id and {{ valid_at('customers', 'orders.ordered_at') }}
left join warehouses
    on shipments.warehouse_code = warehouses.warehouse_code and {{ valid_at('warehouses', 'orders.ordered_at') }}
