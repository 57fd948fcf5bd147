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
    to_char(calendar_date, 'ID')::integer as weekday,

    -- booleans
    to_char(calendar_date, 'ID')::integer >= 6 as is_weekend,
    is_holiday,

    -- groups
    extract(quarter from calendar_date)::integer as quarter,
    to_char(calendar_date, 'IW')::integer as iso_week,

    -- text
    holiday_name

from calendar
