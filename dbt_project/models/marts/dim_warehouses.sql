{{ config(unique_key='warehouse_key') }}

with

versions as (

    select * from {{ ref('stg_lake__warehouses') }}

),

named as (

    select warehouse_code from {{ source('lake', 'shipments_by_warehouse_code') }}
    union all
    select null

),

members as (

    {{
        type_2_members('versions', 'named', 'warehouse_code', [
            'warehouse_name', 'city', 'country_code', 'is_deleted',
        ])
    }}

)

select
    -- keys
    surrogate_key as warehouse_key,
    warehouse_code,

    -- attributes
    case when warehouse_code is null then 'Unknown' else warehouse_name end as warehouse_name,
    city,
    country_code,

    -- validity
    valid_from,
    valid_to,
    is_current,

    -- lineage
    coalesce(is_deleted, false) as is_deleted,
    is_inferred

from members
