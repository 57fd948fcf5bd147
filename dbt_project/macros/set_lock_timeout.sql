{#- The pre-hook of every model: how long a statement waits for a lock before it fails, where the warehouse has that. -#}
{% macro set_lock_timeout() -%}
    {{ return(adapter.dispatch('set_lock_timeout')()) }}
{%- endmacro %}

{% macro postgres__set_lock_timeout() -%}
    set lock_timeout = '{{ env_var('DBT_WAREHOUSE_LOCK_TIMEOUT', '30s') }}'
{%- endmacro %}

{% macro default__set_lock_timeout() -%}
{%- endmacro %}

{% macro redshift__set_lock_timeout() -%}
{%- endmacro %}
