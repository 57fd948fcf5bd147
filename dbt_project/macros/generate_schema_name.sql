{#-
    The schema of a model: staging or marts, or the names in LAKEHOUSE_STAGING_SCHEMA and LAKEHOUSE_MARTS_SCHEMA. dbt's
    own macro would add the target's schema as a prefix (`marts_staging`), which readers of the warehouse do not expect.
-#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set name = (custom_schema_name or target.schema) | trim -%}
    {{ env_var('DBT_' ~ name | upper ~ '_SCHEMA', name) }}
{%- endmacro %}
