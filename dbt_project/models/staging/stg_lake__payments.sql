with

source as (

    select * from {{ source('lake', 'payments') }}

),

renamed as (

    select
        -- ids
        payment_id,
        order_id,

        -- text
        method,
        status,
        currency,

        -- numerics
        amount,

        -- dates
        order_date,

        -- timestamps
        paid_at

    from source

)

select * from renamed
