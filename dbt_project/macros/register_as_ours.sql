{#-
    The post-hook of every model, in the transaction that made it: write down that the table or view is the lakehouse's
    (`orders_lakehouse/warehouse/ownership.py`), which touches nothing that is not.
-#}
{% macro register_as_ours() -%}
    {{ return(adapter.dispatch('register_as_ours')()) }}
{%- endmacro %}

{% macro postgres__register_as_ours() -%}
    insert into {{ lake_schema() }}.lakehouse_objects as known
    values ('{{ this.schema }}', '{{ this.identifier }}', '{{ this }}'::regclass)
    on conflict (schema_name, object_name) do update set object_id = excluded.object_id
    where known.object_id <> excluded.object_id
{%- endmacro %}

{% macro redshift__register_as_ours() -%}
{%- endmacro %}

{% macro default__register_as_ours() -%}
{%- endmacro %}

{#- The schema of the copies of lake tables. -#}
{% macro lake_schema() -%}
    {{ env_var('DBT_LAKE_SCHEMA', 'lake') }}
{%- endmacro %}
