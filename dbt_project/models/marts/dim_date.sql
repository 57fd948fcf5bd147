with

calendar as (

    select * from {{ ref('stg_lake__calendar') }}

)

select
    -- keys
    {{ date_id('calendar_date') }} as date_id,
    calendar_date as date,

    -- parts
    extract(day from calendar_date)::integer as day,
    extract(month from calendar_date)::integer as month,
    extract(year from calendar_date)::integer as year,
    extract(isodow from calendar_date)::integer as weekday,

    -- booleans
    extract(isodow from calendar_date) >= 6 as is_weekend,
    is_holiday,

    -- groups
    extract(quarter from calendar_date)::integer as quarter,
    extract(week from calendar_date)::integer as iso_week,

    -- text
    holiday_name

from calendar
