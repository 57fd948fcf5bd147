{#- A surrogate key: the digest of a text that identifies the member. -#}
{% macro surrogate_key(text) -%}
    {{ dbt.hash(text) }}
{%- endmacro %}
