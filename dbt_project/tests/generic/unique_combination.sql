{#-
    Fails with the combinations of `columns` that more than one row has.

    counting      one of the columns, with small numbers that count within the others, such as lines of an order. Rows
                  are first grouped by the other columns, with one bit for each number. If the sum of the bits equals
                  their union, no number is there twice. The remaining groups are compared row by row, also those in
                  which two numbers only share a bit. This is used on Postgres, where it is faster.
-#}
{% test unique_combination(model, columns, counting=none) %}

    {%- set others = columns | reject('equalto', counting) | join(', ') -%}
    {%- set bit = '1::bigint << abs(coalesce(' ~ counting ~ ', 0) % 63)' -%}

select
    {{ columns | join(', ') }},
    count(*) as rows_found
from {{ model }}
    {% if counting and target.type == 'postgres' -%}
where ({{ others }}) in (
    select {{ others }}
    from {{ model }}
    group by {{ others }}
    having sum({{ bit }}) != bit_or({{ bit }})
)
{% endif -%}
group by {{ columns | join(', ') }}
having count(*) > 1

{% endtest %}
