{#-
    The post-hook of every model, in the transaction that made it: write down that the table or view is the lakehouse's
    (`orders_lakehouse/warehouse/ownership.py`), which touches nothing that is not. Whoever makes a table elsewhere names it.
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
