{{ config(unique_key='date_id') }}

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
    to_char(calendar_date, 'YYYY-MM') as year_month,
    calendar_date - extract(day from calendar_date)::integer + 1 as first_day_of_month,
    (calendar_date - extract(day from calendar_date)::integer + 1 + interval '1 month')::date - 1 as last_day_of_month,

    -- weeks, whose years are not the calendar's
    to_char(calendar_date, 'IYYY')::integer as iso_year,
    to_char(calendar_date, 'IW')::integer as iso_week,
    to_char(calendar_date, 'IYYY"-W"IW') as year_week,

    -- text: without TM the names are English, whatever the server's locale, and padded with blanks
    trim(to_char(calendar_date, 'Month')) as month_name,
    holiday_name

from calendar
