{{ config(unique_key='product_key') }}

with

versions as (

    select * from {{ ref('stg_lake__products') }}

),

named as (

    select product_id from {{ source('lake', 'order_lines_by_product_id') }}
    union all
    select null

),

members as (

    {{
        type_2_members('versions', 'named', 'product_id', [
            'product_name', 'category', 'manufacturer', 'currency', 'unit_price', 'is_deleted',
        ])
    }}

)

select
    -- keys
    surrogate_key as product_key,
    product_id,

    -- attributes
    case when product_id is null then 'Unknown' else product_name end as product_name,
    category,
    manufacturer,
    unit_price,
    currency,

    -- validity
    valid_from,
    valid_to,
    is_current,

    -- lineage
    coalesce(is_deleted, false) as is_deleted,
    is_inferred

from members
