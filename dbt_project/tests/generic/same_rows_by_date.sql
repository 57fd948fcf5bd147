{#-
    Fails with the dates on which a fact has another number of rows than the model `staging`, whose date is `order_date`.
    It finds a row that a join lost, and a date that was not replaced or not emptied.
-#}
{% test same_rows_by_date(model, staging) %}

with

expected as (

    select
        {{ date_id('order_date') }} as date_id,
        count(*) as rows_expected
    from {{ staging }}
    where {{ run_dates('order_date') }}
    group by order_date

),

found as (

    select
        date_id,
        count(*) as rows_found
    from {{ model }}
    group by date_id

)

select
    date_id,
    coalesce(rows_expected, 0) as rows_expected,
    coalesce(rows_found, 0) as rows_found
from expected
full join found using (date_id)
where coalesce(rows_expected, 0) != coalesce(rows_found, 0)

{% endtest %}
