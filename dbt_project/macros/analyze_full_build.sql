{#-
    The post-hook of a mart that was built in full. A new table has no statistics, so the server plans joins and tests as
    if it were small; a year of facts took three times as long. The server itself updates the statistics of tables whose
    rows are replaced.
-#}
{% macro analyze_full_build() -%}
    {{ return(adapter.dispatch('analyze_full_build')()) }}
{%- endmacro %}

{#- Redshift uses this macro too, because it has the same statement. -#}
{% macro postgres__analyze_full_build() -%}
    {%- set merged = config.get('materialized') == 'dimension' and load_cached_relation(this) is not none -%}
    {%- if not is_incremental() and not merged -%}
        analyze {{ this }}
    {%- endif -%}
{%- endmacro %}

{% macro default__analyze_full_build() -%}
{%- endmacro %}
