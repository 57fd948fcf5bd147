{#-
    What dbt's own macros do otherwise on Redshift than these models need. dbt-redshift stands on dbt-postgres and takes
    its variant of a macro where it has none of its own.
-#}

{#- There are no indexes. -#}
{% macro redshift__get_create_index_sql(relation, index_dict) -%}
    {{ return(none) }}
{%- endmacro %}

{#- `text` is short for varchar(256) there. -#}
{% macro redshift__get_table_columns_and_constraints() -%}
    {{ return(table_columns_and_constraints() | replace(' text', ' varchar(max)')) }}
{%- endmacro %}

{#- A cast to `text` would cut what is longer, and two keys could get the same digest. -#}
{% macro redshift__hash(field) -%}
    md5({{ field }})
{%- endmacro %}
