{#-
    Fails with the combinations of `columns` that stand in more than one row.

    counting      one of the columns, whose few numbers count within the others. Each becomes a bit of an integer, in a
                  group for each order, say, and not for each of its lines: the sum of the bits is their union unless
                  one is there twice. Groups of which that is not so, also because two numbers share a bit, are looked
                  at row by row. On Postgres alone, where it is faster.
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
