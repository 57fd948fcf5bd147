select
    strftime(day, '%Y%m%d')::integer as date_id,
    day as date,
    extract(day from day)::integer as day,
    extract(month from day)::integer as month,
    extract(year from day)::integer as year,
    extract(isodow from day)::integer as weekday,
    extract(isodow from day) >= 6 as is_weekend,
    holiday_name is not null as is_holiday,
    extract(quarter from day)::integer as quarter,
    strftime(day, '%Y-%m') as year_month,
    date_trunc('month', day)::date as first_day_of_month,
    last_day(day) as last_day_of_month,
    extract(isoyear from day)::integer as iso_year,
    extract(week from day)::integer as iso_week,
    strftime(day, '%G-W%V') as year_week,
    strftime(day, '%B') as month_name,
    holiday_name
from (
    select unnest(generate_series(
        date '{{ var("start") }}',
        (select make_date(extract(year from max(order_date))::integer + 1, 12, 31) from {{ ref("cleansed_orders") }}),
        interval 1 day
    ))::date as day
) as days
left join {{ source("raw", "holidays") }} as holidays on holidays.date = day
