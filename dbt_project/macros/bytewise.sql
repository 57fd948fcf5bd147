{#- A text to be compared byte by byte, where the collation of a database would have a say otherwise. -#}
{% macro bytewise(text) -%}
    {{ return(adapter.dispatch('bytewise')(text)) }}
{%- endmacro %}

{% macro postgres__bytewise(text) -%}
    {{ text }} collate "C"
{%- endmacro %}

{% macro default__bytewise(text) -%}
    {{ text }}
{%- endmacro %}

{#- Redshift compares bytes unless a database was made to ignore case. -#}
{% macro redshift__bytewise(text) -%}
    {{ text }}
{%- endmacro %}
