{#-
    Fails with the values that no row of `to` has on the run's dates, for facts that replace the same dates. Unlike
    `relationships`, it reads only these dates of `to`.
-#}
{% test relationships_by_date(model, column_name, to, field) %}

with

child as (

    select {{ column_name }} as from_field
    from {{ model }}
    where {{ column_name }} is not null

),

parent as (

    select {{ field }} as to_field
    from {{ to }}
    where {{ run_dates('date_id', as_date_id=true) }}

)

select from_field
from child
left join parent on child.from_field = parent.to_field
where parent.to_field is null

{% endtest %}
