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

lines as (

    select * from {{ ref('stg_lake__order_lines') }}
    where {{ run_dates('order_date') }}

),

dates as (

    select * from {{ ref('dim_date') }}

),

customers as (

    select * from {{ ref('dim_customers') }}

),

products as (

    select * from {{ ref('dim_products') }}

)

-- The joins are left joins: a line without a member gets a null key, which the contract refuses. An inner join would
-- lose the line.
select
    -- grain
    lines.order_id,
    lines.line_number,

    -- dimensions
    dates.date_id,
    case when lines.customer_id is null then {{ unknown_key() }} else customers.customer_key end as customer_key,
    products.product_key,
    lines.customer_id,
    lines.product_id,

    -- measures
    lines.quantity,
    lines.unit_price,
    lines.discount,
    lines.total_price,

    -- attributes of the order
    lines.currency,
    lines.order_status,
    lines.ordered_at

from lines
left join dates on lines.order_date = dates.date
left join customers
    on lines.customer_id = customers.customer_id and {{ valid_at('customers', 'lines.ordered_at') }}
left join products
    on lines.product_id = products.product_id and {{ valid_at('products', 'lines.ordered_at') }}
