{#- A text to be compared byte by byte, where the collation of a database would have a say otherwise. -#}
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
