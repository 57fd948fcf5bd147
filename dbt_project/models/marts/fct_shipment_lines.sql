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

items as (

    select * from {{ ref('stg_lake__shipment_items') }}
    where {{ run_dates('order_date') }}

),

shipments as (

    select * from {{ ref('stg_lake__shipments') }}
    where {{ run_dates('order_date') }}

),

orders as (

    select * from {{ ref('stg_lake__orders') }}
    where {{ run_dates('order_date') }}

),

lines as (

    select * from {{ ref('stg_lake__order_lines') }}
    where {{ run_dates('order_date') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

products as (

    select * from {{ ref('dim_products') }}

),

warehouses as (

    select * from {{ ref('dim_warehouses') }}

)

-- By date, too: an order that moved stands at both dates until the date that it left is derived again.
-- Left joins: a line whose shipment or order line is not valid, or not there, stays, with the status unknown or the
-- unknown product. A line that finds no other member gets a null key, which the contract refuses.
select
    -- grain
    items.shipment_id,
    items.order_id,
    items.line_number,

    -- dimensions
    dates.date_id,
    case when lines.product_id is null then {{ unknown_key() }} else products.product_key end as product_key,
    case when shipments.warehouse_code is null then {{ unknown_key() }} else warehouses.warehouse_key end
        as warehouse_key,
    lines.product_id,
    shipments.warehouse_code,

    -- measures
    items.quantity,

    -- attributes of the shipment
    shipments.carrier,
    coalesce(shipments.status, 'unknown') as shipment_status,
    orders.ordered_at,
    shipments.shipped_at,
    shipments.delivered_at

from items
left join shipments
    on
        items.shipment_id = shipments.shipment_id
        and items.order_id = shipments.order_id
        and items.order_date = shipments.order_date
left join orders on items.order_id = orders.order_id and items.order_date = orders.order_date
left join lines
    on
        items.order_id = lines.order_id
        and items.line_number = lines.line_number
        and items.order_date = lines.order_date
left join dates on items.order_date = dates.date
left join products
    on lines.product_id = products.product_id and {{ valid_at('products', 'lines.ordered_at') }}
left join warehouses
    on shipments.warehouse_code = warehouses.warehouse_code and {{ valid_at('warehouses', 'orders.ordered_at') }}
