{#- The pre-hook of every model: how long a statement waits for a lock before it fails, where the warehouse has that. -#}
{% macro limit_waiting() -%}
    {{ return(adapter.dispatch('limit_waiting')()) }}
{%- endmacro %}

{% macro postgres__limit_waiting() -%}
    set lock_timeout = '{{ env_var('DBT_WAREHOUSE_LOCK_TIMEOUT', '30s') }}'
{%- endmacro %}

{% macro default__limit_waiting() -%}
{%- endmacro %}

{% macro redshift__limit_waiting() -%}
{%- endmacro %}
