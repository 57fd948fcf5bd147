{#- A date as the integer yyyymmdd, the key of dim_date. -#}
{% macro date_id(date) -%}
    to_char({{ date }}, 'YYYYMMDD')::integer
{%- endmacro %}
