{#-
    The first row of each group, as a query over `relation`.

    key       what makes a group, a list of columns.
    order_by  what comes first within it, a list of expressions with `asc` or `desc`.
    columns   the columns to return.
    where     condition on the rows; none takes all.

    Postgres has a clause for it, which sorts once. Elsewhere the rows are numbered; a `*` brings the number along.
-#}
{% macro first_of_each(key, order_by, relation, columns=['*'], where=none) -%}
    {{ return(adapter.dispatch('first_of_each')(key, order_by, relation, columns, where)) }}
{%- endmacro %}

{% macro postgres__first_of_each(key, order_by, relation, columns, where) -%}
    select distinct on ({{ key | join(', ') }}) {{ columns | join(', ') }}
    from {{ relation }}
    {%- if where %}
    where {{ where }}
    {%- endif %}
    order by {{ key | join(' asc, ') }} asc, {{ order_by | join(', ') }}
{%- endmacro %}

{% macro default__first_of_each(key, order_by, relation, columns, where) -%}
    select {{ columns | join(', ') }}
    from (
        select
            *,
            row_number() over (partition by {{ key | join(', ') }} order by {{ order_by | join(', ') }}) as place
        from {{ relation }}
        {%- if where %}
        where {{ where }}
        {%- endif %}
    ) as numbered
    where place = 1
{%- endmacro %}

{#- dbt-redshift stands on dbt-postgres, whose variants it would take before the default. -#}
{% macro redshift__first_of_each(key, order_by, relation, columns, where) -%}
    {{ return(default__first_of_each(key, order_by, relation, columns, where)) }}
{%- endmacro %}
