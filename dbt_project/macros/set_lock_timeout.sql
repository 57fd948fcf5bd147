{#- The pre-hook of every model: set how long a statement waits for a lock, if the database has such a setting. -#}
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
