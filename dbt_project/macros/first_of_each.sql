{#-
    The first row of each group, as a query over `relation`.

    key       list of the columns that identify a group.
    order_by  list of expressions with `asc` or `desc`; the first row in this order is returned.
    columns   the columns to return.
    where     condition on the rows; none takes all.

    Postgres has a clause for this, which sorts once. Other databases number the rows; `*` then includes the number.
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

{#- dbt-redshift is based on dbt-postgres, so dbt would choose the Postgres macro before the default. -#}
{% macro redshift__first_of_each(key, order_by, relation, columns, where) -%}
    {{ return(default__first_of_each(key, order_by, relation, columns, where)) }}
{%- endmacro %}
