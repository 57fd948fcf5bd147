{#-
    The pre-hook of a fact that stands: its columns get the types of its contract where an older version of the project
    made them with others. What hangs on such a column, a view say, makes this fail with its name. dbt itself adds new
    columns and leaves types as they are: rows would be rounded to the old ones without a word.
-#}
{% macro follow_types() -%}
    {{ return(adapter.dispatch('follow_types')()) }}
{%- endmacro %}

{% macro postgres__follow_types() -%}
    {%- set changed = [] -%}
    {%- if execute and is_incremental() -%}
        {%- for column in adapter.get_columns_in_relation(this) -%}
            {%- set wanted = model.columns.get(column.name, {}).get('data_type', '') | replace(' ', '') -%}
            {%- if wanted.startswith('numeric(') and column.data_type | replace(' ', '') != wanted -%}
                {%- do changed.append('alter column ' ~ column.name ~ ' type ' ~ wanted) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {%- if changed -%}
        alter table {{ this }} {{ changed | join(', ') }}
    {%- endif -%}
{%- endmacro %}

{#- Redshift changes no numeric type in place: there, the facts are refreshed in full. -#}
{% macro redshift__follow_types() -%}
{%- endmacro %}

{% macro default__follow_types() -%}
{%- endmacro %}
