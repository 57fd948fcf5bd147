with

source as (

    select * from {{ source('lake', 'products') }}

),

renamed as (

    select
        -- ids
        product_id,

        -- text
        product_name,
        category,
        manufacturer,
        currency,

        -- numerics
        unit_price,

        -- booleans
        is_deleted,

        -- dates
        captured_on as captured_date,

        -- timestamps
        updated_at,
        captured_at

    from source

)

select * from renamed
