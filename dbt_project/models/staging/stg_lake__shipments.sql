with

source as (

    select * from {{ source('lake', 'shipments') }}

),

renamed as (

    select
        -- ids
        shipment_id,
        order_id,
        warehouse_code,

        -- text
        carrier,
        service,
        tracking_number,
        currency,
        status,

        -- numerics
        cost,
        case when status in ('shipped', 'delivered', 'returned', 'lost') then 1 else 0 end as is_shipped,
        case when status = 'delivered' then 1 else 0 end as is_delivered,

        -- dates
        order_date,

        -- timestamps
        shipped_at,
        delivered_at

    from source

)

select * from renamed
