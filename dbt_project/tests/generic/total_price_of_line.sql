{#-
    Fails with the lines whose total is not quantity * unit_price - discount, rounded half away from zero to the minor unit
    of the line's currency.
-#}
{% test total_price_of_line(model) %}

select *
from {{ model }}
where total_price != round(quantity * unit_price - discount, {{ minor_units('currency') }})

{% endtest %}
