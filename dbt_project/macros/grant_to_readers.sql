{#-
    The post-hook of a mart that lets the roles of LAKEHOUSE_READERS read it. Other grants stay; dbt's own `grants` would
    revoke them.
-#}
{% macro grant_to_readers(relation=none) -%}
    {{ return(adapter.dispatch('grant_to_readers')(relation or this)) }}
{%- endmacro %}

{% macro postgres__grant_to_readers(relation) -%}
    {%- set readers = env_var('DBT_READERS', '') if execute else '' -%}
    {%- if readers -%}
        {%- set without = run_query(
            "select r.rolname from pg_roles as r where r.rolname in ('" ~ readers | replace(",", "', '")
            ~ "') and not has_table_privilege(r.oid, '" ~ relation ~ "'::regclass, 'SELECT') order by 1"
        ) -%}
        {%- if without.rows -%}
            grant select on {{ relation }} to {{ without.columns[0].values() | join(', ') }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{% macro redshift__grant_to_readers(relation) -%}
{%- endmacro %}

{% macro default__grant_to_readers(relation) -%}
{%- endmacro %}
