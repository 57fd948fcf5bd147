with

source as (

    select * from {{ source('lake', 'calendar') }}

),

renamed as (

    select
        -- text
        holiday_name,

        -- booleans
        is_holiday,

        -- dates
        date as calendar_date

    from source

)

select * from renamed
