with

source as (

    select * from {{ source('lake', 'shipment_items') }}

),

renamed as (

    select
        -- ids
        shipment_id,
        order_id,
        line_number,

        -- numerics
        quantity,

        -- dates
        order_date

    from source

)

select * from renamed
