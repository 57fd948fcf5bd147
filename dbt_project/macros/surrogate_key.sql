{#- A surrogate key: the digest of a text that stands for the member. -#}
{% macro surrogate_key(text) -%}
    {{ dbt.hash(text) }}
{%- endmacro %}
