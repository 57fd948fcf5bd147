{#-
    The materialization of a staging view, which stays where it is: a view that says the same is not touched, columns are
    added at its end, and a view that has to be made anew is dropped without what others have made of it: that fails,
    with the names.
-#}
{% materialization standing_view, adapter='postgres' -%}
    {%- set standing = load_cached_relation(this) -%}
    {%- set target = this.incorporate(type='view') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- if standing is none -%}
        {%- call statement('main') -%}
            {{ get_create_view_as_sql(target, sql) }}
        {%- endcall -%}
    {%- else -%}
        {%- set made = make_temp_relation(target, '__made') -%}
        {%- call statement('make') -%}
            create temporary view {{ made }} as ({{ sql }})
        {%- endcall -%}
        {%- set said = run_query(
            "select pg_get_viewdef('" ~ target ~ "'::regclass) = pg_get_viewdef('" ~ made ~ "'::regclass)"
        ) -%}
        {%- set before = adapter.get_columns_in_relation(target) -%}
        {%- set after = adapter.get_columns_in_relation(made) -%}
        {%- call statement('main') -%}
            drop view {{ made }};
            {%- if not said.rows[0][0] %}
                {%- if after[:before | length] != before %}
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

{% materialization standing_view, adapter='redshift' -%}
    {{ return(dbt.materialization_view_default()) }}
{%- endmaterialization %}
