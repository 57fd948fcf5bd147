{{ config(unique_key='customer_key') }}

with

versions as (

    select * from {{ ref('stg_lake__customers') }}

),

named as (

    select customer_id from {{ source('lake', 'orders_by_customer_id') }}
    union all
    select null

),

members as (

    {{
        type_2_members('versions', 'named', 'customer_id', [
            'customer_name', 'customer_email', 'address', 'city', 'state', 'postal_code', 'country_code',
            'is_deleted', 'date_of_birth', 'registration_date',
        ])
    }}

)

select
    -- keys
    surrogate_key as customer_key,
    customer_id,

    -- attributes
    case when customer_id is null then 'Unknown' else customer_name end as customer_name,
    customer_email,
    date_of_birth,
    registration_date,
    address,
    city,
    state,
    postal_code,
    country_code,

    -- validity
    valid_from,
    valid_to,
    is_current,

    -- lineage
    coalesce(is_deleted, false) as is_deleted,
    is_inferred

from members
