{#-
    The pre-hook of an existing fact: numeric columns that an older version of the project made get the types of the
    contract. If an object, such as a view, depends on such a column, this fails and names the object. dbt itself only
    adds new columns, and rows would silently be rounded to the old types.
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

{#- Redshift cannot change a numeric type in place; facts are refreshed in full there. -#}
{% macro redshift__follow_types() -%}
{%- endmacro %}

{% macro default__follow_types() -%}
{%- endmacro %}
