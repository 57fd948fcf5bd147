with

source as (

    select * from {{ source('lake', 'orders') }}

),

renamed as (

    select
        -- ids
        order_id,
        customer_id,

        -- text
        status,
        currency,

        -- dates
        order_date,

        -- timestamps
        ordered_at,
        shipped_at,
        delivered_at,
        updated_at

    from source

)

select * from renamed
