with

source as (

    select * from {{ source('lake', 'order_lines') }}

),

renamed as (

    select
        -- ids
        order_id,
        line_number,
        product_id,
        customer_id,

        -- text
        currency,
        order_status,

        -- numerics
        quantity,
        unit_price,
        discount,
        total_price,

        -- dates
        order_date,

        -- timestamps
        ordered_at

    from source

)

select * from renamed
