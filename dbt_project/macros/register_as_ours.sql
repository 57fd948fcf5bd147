{#-
    The post-hook of every model, in the transaction that made it: register the table or view as the lakehouse's
    (`orders_lakehouse/warehouse/ownership.py`), which changes only registered objects. Other macros that make a table
    pass it as an argument.
-#}
{% macro register_as_ours(relation=none) -%}
    {{ return(adapter.dispatch('register_as_ours')(relation or this)) }}
{%- endmacro %}

{% macro postgres__register_as_ours(relation) -%}
    insert into {{ lake_schema() }}.lakehouse_objects as known
    values ('{{ relation.schema }}', '{{ relation.identifier }}', '{{ relation }}'::regclass)
    on conflict (schema_name, object_name) do update set object_id = excluded.object_id
    where known.object_id <> excluded.object_id
{%- endmacro %}

{% macro redshift__register_as_ours(relation) -%}
{%- endmacro %}

{% macro default__register_as_ours(relation) -%}
{%- endmacro %}

{#- The schema of the copies of lake tables. -#}
{% macro lake_schema() -%}
    {{ env_var('DBT_LAKE_SCHEMA', 'lake') }}
{%- endmacro %}
