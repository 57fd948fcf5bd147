{#- dbt would prefix the target's schema (`marts_staging`); the schemas of a warehouse are named for its readers. -#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
