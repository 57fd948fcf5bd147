{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name or target.schema }}
{%- endmacro %}

{% macro trimmed(column) -%}
    nullif(trim({{ column }}, e' \t\n\r'), '')
{%- endmacro %}

{% macro key_or_null(column) -%}
    case when {{ trimmed(column) }} is not null then {{ column }} end
{%- endmacro %}

{#- The reasons of a row: a rule that is null holds. -#}
{% macro reasons(rules) -%}
    concat_ws(', '
        {%- for reason, holds in rules.items() %},
        case when not coalesce({{ holds }}, true) then '{{ reason }}' end
        {%- endfor %}
    )
{%- endmacro %}

{% macro unknown_key() -%}
    repeat('0', 32)
{%- endmacro %}

{#- The valid versions of a dimension with their intervals; the first one is valid from the beginning of time. -#}
{% macro versions(judged, key) %}
select
    * exclude (reasons),
    case
        when lag(updated_at) over clock is null then timestamptz '1900-01-01 00:00:00+00' else updated_at
    end as valid_from,
    coalesce(lead(updated_at) over clock, timestamptz '9999-12-31 00:00:00+00') as valid_to
from (
    select * from {{ judged }}
    where reasons = '' or is_deleted
    qualify row_number() over (partition by {{ key }}, updated_at) = 1
) as versions
window clock as (partition by {{ key }} order by updated_at)
{% endmacro %}

{#- The members of a dimension: its versions, those that facts name alone, and the unknown one. -#}
{% macro members(versions, named, key) %}
    select
        * replace (
            coalesce(valid_from, timestamptz '1900-01-01 00:00:00+00') as valid_from,
            coalesce(valid_to, timestamptz '9999-12-31 00:00:00+00') as valid_to
        ),
        coalesce(valid_to, timestamptz '9999-12-31 00:00:00+00') = timestamptz '9999-12-31 00:00:00+00' as is_current,
        updated_at is null and {{ key }} is not null as is_inferred,
        case
            when {{ key }} is null then {{ unknown_key() }}
            else md5({{ key }} || '|' || strftime(
                coalesce(valid_from, timestamptz '1900-01-01 00:00:00+00') at time zone 'UTC', '%Y-%m-%dT%H:%M:%S.%f'
            ))
        end as surrogate_key
    from {{ versions }}
    full join (select distinct {{ key }} from {{ named }} where {{ key }} is not null union all select null)
        as named using ({{ key }})
{% endmacro %}

{% macro valid_at(dimension, moment) -%}
    {{ moment }} >= {{ dimension }}.valid_from and {{ moment }} < {{ dimension }}.valid_to
{%- endmacro %}

{#- Hours in hundredths, half away from zero; DuckDB divides decimals as floating numbers. -#}
{% macro hours(since, until) -%}
    {%- set microseconds = "(epoch_us(" ~ until ~ ") - epoch_us(" ~ since ~ "))" -%}
    (sign({{ microseconds }}) * ((abs({{ microseconds }}) + 18000000) // 36000000) * 0.01)::decimal(12, 2)
{%- endmacro %}
