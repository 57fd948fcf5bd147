{#-
    dbt keeps what an incremental model is about to add in a temporary table, and copies it from there. A view over the
    same query does as well, and the rows are written once. Everything else is left to the adapter.
-#}
{% macro postgres__create_table_as(temporary, relation, sql) -%}
    {%- if temporary and config.get('materialized') == 'incremental' -%}
        create temporary view {{ relation }}
        {{ get_assert_columns_equivalent(sql) }}
        as ({{ sql }});
    {%- else -%}
        {{ dbt.postgres__create_table_as(temporary, relation, sql) }}
    {%- endif -%}
{%- endmacro %}

{#- The one above is found for Redshift too, whose adapter stands on that of Postgres, and before the adapter's own. -#}
{% macro redshift__create_table_as(temporary, relation, sql) -%}
    {{ dbt.redshift__create_table_as(temporary, relation, sql) }}
{%- endmacro %}
