with

source as (

    select * from {{ source('lake', 'warehouses') }}

),

renamed as (

    select
        -- ids
        code as warehouse_code,

        -- text
        name as warehouse_name,
        city,
        country_code,

        -- booleans
        is_deleted,

        -- timestamps
        updated_at,
        captured_at

    from source

)

select * from renamed
