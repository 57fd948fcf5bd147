{#- Hours from one instant to another, with fractions; the caller casts the type. -#}
{% macro hours_between(start, end) -%}
    {{ return(adapter.dispatch('hours_between')(start, end)) }}
{%- endmacro %}

{% macro postgres__hours_between(start, end) -%}
    extract(epoch from {{ end }} - {{ start }}) / 3600
{%- endmacro %}

{% macro default__hours_between(start, end) -%}
    {{ dbt.datediff(start, end, 'microsecond') }} / 3600000000.0
{%- endmacro %}

{% macro redshift__hours_between(start, end) -%}
    {{ return(default__hours_between(start, end)) }}
{%- endmacro %}
