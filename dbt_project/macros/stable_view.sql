{#-
    The materialization of a staging view, which keeps the existing view where possible. A view with the same query is not
    touched, and new columns are added at its end. A view that must be created again is dropped without `cascade`, so the
    drop fails and names any object of others that depends on it.
-#}
{% materialization stable_view, adapter='postgres' -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target = this.incorporate(type='view') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- if existing is none -%}
        {%- call statement('main') -%}
            {{ get_create_view_as_sql(target, sql) }}
        {%- endcall -%}
    {%- else -%}
        {%- set new_view = make_temp_relation(target, '__new') -%}
        {%- call statement('make') -%}
            create temporary view {{ new_view }} as ({{ sql }})
        {%- endcall -%}
        {%- set same_query = run_query(
            "select pg_get_viewdef('" ~ target ~ "'::regclass) = pg_get_viewdef('" ~ new_view ~ "'::regclass)"
        ) -%}
        {%- set old_columns = adapter.get_columns_in_relation(target) -%}
        {%- set new_columns = adapter.get_columns_in_relation(new_view) -%}
        {%- call statement('main') -%}
            drop view {{ new_view }};
            {%- if not same_query.rows[0][0] %}
                {%- if new_columns[:old_columns | length] != old_columns %}
            drop view {{ target }};
                {%- endif %}
            create or replace view {{ target }} as ({{ sql }});
            {%- endif %}
        {%- endcall -%}
    {%- endif -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- do persist_docs(target, model) -%}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target]}) }}
{%- endmaterialization %}

{% materialization stable_view, adapter='redshift' -%}
    {{ return(dbt.materialization_view_default()) }}
{%- endmaterialization %}
