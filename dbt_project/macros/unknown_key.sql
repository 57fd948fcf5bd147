{#- The key of the unknown member of every dimension. People can tell it from digests, which all other keys are. -#}
{% macro unknown_key() -%}
    repeat('0', 32)
{%- endmacro %}
