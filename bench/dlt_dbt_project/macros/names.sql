{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name or target.schema }}
{%- endmacro %}

{% macro trimmed(column) -%}
    nullif(trim({{ column }}, e' \t\n\r'), '')
{%- endmacro %}

{% macro key_or_null(column) -%}
    case when {{ trimmed(column) }} is not null then {{ column }} end
{%- endmacro %}

{#- A code in upper case; an alias becomes the code that it stands for. -#}
{% macro code(column) -%}
    case upper({{ trimmed(column) }})
        {%- for alias, code in var('aliases').items() %}
        when '{{ alias }}' then '{{ code }}'
        {%- endfor %}
        else upper({{ trimmed(column) }})
    end
{%- endmacro %}

{#-
    An amount rounded to the minor unit of its currency, half away from zero; to two decimals without one. Each branch is
    cast by itself: of decimals of 38 digits, DuckDB takes the scale of the first branch for all.
-#}
{% macro rounded(amount, currency) -%}
    case
        {%- for units in [0, 3, 4] %}
        when {{ currency }} in (
            {%- for code, of_code in var('minor_units').items() if of_code == units -%}
            {{ "" if loop.first else ", " }}'{{ code }}'
            {%- endfor -%}
        ) then round({{ amount }}, {{ units }})::decimal(18, 4)
        {%- endfor %}
        else round({{ amount }}, 2)::decimal(18, 4)
    end
{%- endmacro %}

{#- A column that becomes null where it does not hold; a deleted row is not judged. -#}
{% macro blanked(column, holds) -%}
    case when is_deleted or coalesce({{ holds }}, true) then {{ column }} end as {{ column }}
{%- endmacro %}

{#- The warnings of a row; a deleted one has none. -#}
{% macro warnings(rules) -%}
    case when not is_deleted then nullif({{ reasons(rules) }}, '') end
{%- endmacro %}

{#- Whether an instant lies between 1900 and the row's change, with a day of grace. -#}
{% macro has_happened(column) -%}
    {{ column }} between timestamptz '1900-01-01 00:00:00+00' and updated_at + interval 1 day
{%- endmacro %}

{#- Whether a key has neither white space around it nor a character that nobody sees. -#}
{% macro has_no_unseen_characters(key) -%}
    not regexp_matches(
        {{ key }},
        '^\s|\s$|[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]|[\x{00A0}\x{1680}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}]'
    )
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

{#-
    The valid versions of a dimension with their intervals; the first one is valid from the beginning of time. A version
    with the attributes of the one before it is none of its own.
-#}
{% macro versions(judged, key, attributes) %}
select
    * exclude (reasons),
    case
        when lag(updated_at) over clock is null then timestamptz '1900-01-01 00:00:00+00' else updated_at
    end as valid_from,
    coalesce(lead(updated_at) over clock, timestamptz '9999-12-31 00:00:00+00') as valid_to
from (
    select * from (
        select * from {{ judged }}
        where reasons = '' or is_deleted
        qualify row_number() over (partition by {{ key }}, updated_at) = 1
    ) as last_read
    qualify row({{ attributes | join(', ') }}) is distinct from lag(row({{ attributes | join(', ') }}))
        over (partition by {{ key }} order by updated_at)
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
