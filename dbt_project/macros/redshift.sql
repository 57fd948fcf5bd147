{#-
    Replacements for dbt's own macros that do not fit these models on Redshift. dbt-redshift is based on dbt-postgres, and
    uses its macros where it has none of its own.
-#}

{#- Redshift has no indexes. -#}
{% macro redshift__get_create_index_sql(relation, index_dict) -%}
    {{ return(none) }}
{%- endmacro %}

{#- On Redshift, `text` means varchar(256). -#}
{% macro redshift__get_table_columns_and_constraints() -%}
    {{ return(table_columns_and_constraints() | replace(' text', ' varchar(max)')) }}
{%- endmacro %}

{#- dbt's macro casts to `text`, which cuts longer values, so that two keys could get the same digest. -#}
{% macro redshift__hash(field) -%}
    md5({{ field }})
{%- endmacro %}
