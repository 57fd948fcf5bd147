{#-
    The post-hook of a mart: what was made whole has no statistics yet, and whoever joins or tests it would be planned
    as if it were small (a year of facts took three times as long). Later, and of a dimension whose rows are replaced, the
    server keeps them by itself.
-#}
{% macro analyze_full_build() -%}
    {{ return(adapter.dispatch('analyze_full_build')()) }}
{%- endmacro %}

{#- Redshift takes this one, and has the same statement. -#}
{% macro postgres__analyze_full_build() -%}
    {%- set merged = config.get('materialized') == 'dimension' and load_cached_relation(this) is not none -%}
    {%- if not is_incremental() and not merged -%}
        analyze {{ this }}
    {%- endif -%}
{%- endmacro %}

{% macro default__analyze_full_build() -%}
{%- endmacro %}
