{#-
    The materialization of a dimension. It replaces rows and keeps the table, so that views on it and grants stay, and
    readers need not wait. One transaction deletes members that are gone, updates members that differ, and inserts new
    ones. If nothing differs, nothing is written.

    A dimension configures `unique_key`, the column that identifies a member.
-#}
{% materialization dimension, adapter='postgres' -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set target = this.incorporate(type='table') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- if existing is none -%}
        {%- call statement('main') -%}
            {{ get_create_table_as_sql(False, target, sql) }}
        {%- endcall -%}
        {%- do create_indexes(target) -%}
    {%- else -%}
        {%- set new_table = make_temp_relation(target, '__new') -%}
        {#- The lock comes first: a waiting build of a killed run then sees the rows of builds newer than itself. -#}
        {%- call statement('lock') -%}
            {{ keep_other_writers_out(target) }}
        {%- endcall -%}
        {#- The new table has the constraints of the contract, so that invalid rows fail here and change nothing. -#}
        {%- call statement('make') -%}
            {{ get_create_table_as_sql(True, new_table, sql) }}
        {%- endcall -%}
        {%- do follow_columns(target, new_table) -%}
        {%- call statement('main') -%}
            {{ replace_rows(target, new_table, config.require('unique_key')) }}
        {%- endcall -%}
        {%- call statement('tidy') -%}
            drop table {{ new_table }}
        {%- endcall -%}
    {%- endif -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- do persist_docs(target, model) -%}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target]}) }}
{%- endmaterialization %}

{#- On Redshift, dbt swaps whole tables as usual. -#}
{% materialization dimension, adapter='redshift' -%}
    {{ return(dbt.materialization_table_default()) }}
{%- endmaterialization %}

{#- The statements that make a table's rows equal to those of another table with the same columns, by a key. -#}
{% macro replace_rows(target, new_table, key) -%}
    {%- set columns = adapter.get_columns_in_relation(new_table) | map(attribute='quoted') | list -%}
    {%- set others = columns | reject('equalto', adapter.quote(key)) | list -%}
    analyze {{ new_table }};
    delete from {{ target }} as stored
    where not exists (select 1 from {{ new_table }} as new_rows where new_rows.{{ key }} = stored.{{ key }});
    update {{ target }} as stored
    set {% for column in others %}{{ column }} = new_rows.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
    from {{ new_table }} as new_rows
    where
        new_rows.{{ key }} = stored.{{ key }}
        and (stored.{{ others | join(', stored.') }}) is distinct from (new_rows.{{ others | join(', new_rows.') }});
    insert into {{ target }} ({{ columns | join(', ') }})
    select {{ columns | join(', ') }} from {{ new_table }} as new_rows
    where not exists (select 1 from {{ target }} as stored where new_rows.{{ key }} = stored.{{ key }})
{%- endmacro %}

{#-
    Give an existing table the columns of another one. New columns are added at the end. If an object of others, such as a
    view, depends on a column that is dropped or changes its type, this fails and names the object.
-#}
{% macro follow_columns(target, new_table) -%}
    {%- set stored, wanted = {}, {} -%}
    {%- for column in adapter.get_columns_in_relation(target) -%}
        {%- do stored.update({column.name: column.data_type}) -%}
    {%- endfor -%}
    {%- for column in adapter.get_columns_in_relation(new_table) -%}
        {%- do wanted.update({column.name: column.data_type}) -%}
    {%- endfor -%}
    {%- set changes = [] -%}
    {%- for name, type in wanted.items() -%}
        {%- if name not in stored -%}
            {%- do changes.append('add column ' ~ adapter.quote(name) ~ ' ' ~ type) -%}
        {%- elif stored[name] != type -%}
            {%- do changes.append('alter column ' ~ adapter.quote(name) ~ ' type ' ~ type) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for name in stored if name not in wanted -%}
        {%- do changes.append('drop column ' ~ adapter.quote(name)) -%}
    {%- endfor -%}
    {%- if changes -%}
        {%- do run_query('alter table ' ~ target ~ ' ' ~ changes | join(', ')) -%}
    {%- endif -%}
{%- endmacro %}
