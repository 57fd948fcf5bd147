{#- Type 2 dimensions: versions become intervals of validity, and facts find the interval of their instant. -#}

{% macro beginning_of_time() -%}
    timestamptz '1900-01-01 00:00:00+00'
{%- endmacro %}

{% macro end_of_time() -%}
    timestamptz '9999-12-31 00:00:00+00'
{%- endmacro %}

{#-
    The surrogate key of a version. It depends only on the natural key and the start of the interval, so every rebuild
    gives a version the same key. The first version starts at the beginning of time, so it has the same key as the member
    that was inferred before its row was known. So facts need no repair.
-#}
{% macro type_2_key(natural_key, valid_from) -%}
    {%- set start = "to_char(" ~ valid_from ~ " at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')" -%}
    {{ surrogate_key(dbt.concat([natural_key, "'|'", start])) }}
{%- endmacro %}

{#-
    The members of a type 2 dimension, as a query: the columns of `versions` and surrogate_key, valid_from,
    valid_to, is_current, is_inferred.

    versions      CTE of row versions, with the natural key, updated_at and captured_at.
    named         CTE of the natural keys that facts name. A key without a version becomes an inferred member;
                  a null, which matches no version, becomes the unknown member.
    natural_key   name of the natural key, in both.
    attributes    columns of `versions` that the dimension shows. Consecutive versions that are equal in these columns
                  form one member, valid from the first of them on. A null equals a null.

    If several versions have the same clock, the last captured one counts. Versions captured together are ordered by
    their attributes, so that the result does not depend on their physical order. A deleted row may lack its key (null
    or blank) or its clock; such a version is no member.
-#}
{% macro type_2_members(versions, named, natural_key, attributes) %}
    {%- set clock = "(partition by " ~ natural_key ~ " order by updated_at)" %}
    select
        *,
        case
            when {{ natural_key }} is null then {{ unknown_key() }}
            else {{ type_2_key(natural_key, 'valid_from') }}
        end as surrogate_key
    from (
        select
            *,
            case
                when lag(updated_at) over {{ clock }} is null then {{ beginning_of_time() }}
                else updated_at
            end as valid_from,
            coalesce(lead(updated_at) over {{ clock }}, {{ end_of_time() }}) as valid_to,
            lead(updated_at) over {{ clock }} is null as is_current,
            updated_at is null and {{ natural_key }} is not null as is_inferred
        from (
            select *
            from (
                select
                    *,
                    lag(updated_at) over {{ clock }} as updated_at_before
                    {%- for attribute in attributes %},
                    lag({{ attribute }}) over {{ clock }} as {{ attribute }}_before
                    {%- endfor %}
                from (
                    {{
                        first_of_each(
                            [natural_key, 'updated_at'],
                            ['captured_at desc', attributes | join(' desc, ') ~ ' desc'],
                            versions,
                            where="trim(" ~ natural_key ~ ") != '' and updated_at is not null"
                        )
                    }}
                ) as last_captured
            ) as compared
            where
                updated_at_before is null
                {%- for attribute in attributes %}
                or case
                    when {{ attribute }} = {{ attribute }}_before then false
                    else {{ attribute }} is not null or {{ attribute }}_before is not null
                end
                {%- endfor %}
        ) as changed
        full join {{ named }} using ({{ natural_key }})
    ) as intervals
{% endmacro %}

{#- Whether a member of a dimension was valid at an instant: from its start until just before the next start. -#}
{% macro valid_at(dimension, instant) -%}
    {{ instant }} >= {{ dimension }}.valid_from and {{ instant }} < {{ dimension }}.valid_to
{%- endmacro %}
