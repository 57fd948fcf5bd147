{#- Fails with the lines whose price is not quantity * unit_price - discount in the minor unit of their currency. -#}
{% test total_price_of_line(model) %}

select *
from {{ model }}
where (total_price = {{ rounded("quantity * unit_price - discount", "currency") }}) is not true

{% endtest %}
