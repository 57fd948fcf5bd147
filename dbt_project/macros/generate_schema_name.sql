{#-
    The schema of a model: staging, marts, or what LAKEHOUSE_STAGING_SCHEMA and LAKEHOUSE_MARTS_SCHEMA call them. dbt
    would prefix the target's schema (`marts_staging`); the schemas of a warehouse are named for its readers.
-#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set name = (custom_schema_name or target.schema) | trim -%}
    {{ env_var('DBT_' ~ name | upper ~ '_SCHEMA', name) }}
{%- endmacro %}
