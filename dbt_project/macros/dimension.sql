{#-
    The materialization of a dimension. Its rows are replaced and not its table, so that views on it and grants stay,
    and whoever reads it is not kept waiting: in one transaction, members that are gone are deleted, those that differ
    are updated and new ones are inserted. Where nothing differs, nothing is written.

    A dimension says `unique_key`, the column by which a member is the same.
-#}
{% materialization dimension, adapter='postgres' -%}
    {%- set standing = load_cached_relation(this) -%}
    {%- set target = this.incorporate(type='table') -%}
    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}
    {%- if standing is none -%}
        {%- call statement('main') -%}
            {{ get_create_table_as_sql(False, target, sql) }}
        {%- endcall -%}
        {%- do create_indexes(target) -%}
    {%- else -%}
        {%- set made = make_temp_relation(target, '__made') -%}
        {#- First, so that a build whose run was killed, and that waits, finds what is newer than it. -#}
        {%- call statement('lock') -%}
            {{ keep_other_writers_out(target) }}
        {%- endcall -%}
        {#- With the constraints of the contract, so that what breaks it changes nothing. -#}
        {%- call statement('make') -%}
            {{ get_create_table_as_sql(True, made, sql) }}
        {%- endcall -%}
        {%- do follow_columns(target, made) -%}
        {%- call statement('main') -%}
            {{ replace_rows(target, made, config.require('unique_key')) }}
        {%- endcall -%}
        {%- call statement('tidy') -%}
            drop table {{ made }}
        {%- endcall -%}
    {%- endif -%}
    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {%- do persist_docs(target, model) -%}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=False) }}
    {{ return({'relations': [target]}) }}
{%- endmaterialization %}

{#- Redshift is built by whoever owns it alone: there, dbt swaps tables as it always does. -#}
{% materialization dimension, adapter='redshift' -%}
    {{ return(dbt.materialization_table_default()) }}
{%- endmaterialization %}

{#- The statements that give a table the rows of another one with the same columns, by a key. -#}
{% macro replace_rows(target, made, key) -%}
    {%- set columns = adapter.get_columns_in_relation(made) | map(attribute='quoted') | list -%}
    {%- set others = columns | reject('equalto', adapter.quote(key)) | list -%}
    analyze {{ made }};
    delete from {{ target }} as standing
    where not exists (select 1 from {{ made }} as made where made.{{ key }} = standing.{{ key }});
    update {{ target }} as standing
    set {% for column in others %}{{ column }} = made.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
    from {{ made }} as made
    where
        made.{{ key }} = standing.{{ key }}
        and (standing.{{ others | join(', standing.') }}) is distinct from (made.{{ others | join(', made.') }});
    insert into {{ target }} ({{ columns | join(', ') }})
    select {{ columns | join(', ') }} from {{ made }} as made
    where not exists (select 1 from {{ target }} as standing where made.{{ key }} = standing.{{ key }})
{%- endmacro %}

{#-
    Give a table that stands the columns of another one. New columns come at its end. What others have made of a column
    that goes or gets another type, a view say, makes this fail with its name.
-#}
{% macro follow_columns(target, made) -%}
    {%- set standing, wanted = {}, {} -%}
    {%- for column in adapter.get_columns_in_relation(target) -%}
        {%- do standing.update({column.name: column.data_type}) -%}
    {%- endfor -%}
    {%- for column in adapter.get_columns_in_relation(made) -%}
        {%- do wanted.update({column.name: column.data_type}) -%}
    {%- endfor -%}
    {%- set changes = [] -%}
    {%- for name, type in wanted.items() -%}
        {%- if name not in standing -%}
            {%- do changes.append('add column ' ~ adapter.quote(name) ~ ' ' ~ type) -%}
        {%- elif standing[name] != type -%}
            {%- do changes.append('alter column ' ~ adapter.quote(name) ~ ' type ' ~ type) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- for name in standing if name not in wanted -%}
        {%- do changes.append('drop column ' ~ adapter.quote(name)) -%}
    {%- endfor -%}
    {%- if changes -%}
        {%- do run_query('alter table ' ~ target ~ ' ' ~ changes | join(', ')) -%}
    {%- endif -%}
{%- endmacro %}
