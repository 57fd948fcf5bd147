{#- A text that is compared byte by byte, regardless of the collation of the database. -#}
{% macro binary_collation(text) -%}
    {{ return(adapter.dispatch('binary_collation')(text)) }}
{%- endmacro %}

{% macro postgres__binary_collation(text) -%}
    {{ text }} collate "C"
{%- endmacro %}

{% macro default__binary_collation(text) -%}
    {{ text }}
{%- endmacro %}

{#- Redshift compares bytes unless a database was made to ignore case. -#}
{% macro redshift__binary_collation(text) -%}
    {{ text }}
{%- endmacro %}
