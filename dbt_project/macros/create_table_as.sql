{#-
    dbt writes the new rows of an incremental model to a temporary table, and copies them from there. A view over the
    same query has the same result, and the rows are written only once. The adapter's own macro does everything else.
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

{#-
    This macro calls dbt-redshift's own one. dbt-redshift is based on dbt-postgres, so dbt would choose the macro above
    otherwise.
-#}
{% macro redshift__create_table_as(temporary, relation, sql) -%}
    {{ dbt.redshift__create_table_as(temporary, relation, sql) }}
{%- endmacro %}
