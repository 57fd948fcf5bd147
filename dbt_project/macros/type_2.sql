{#- Type 2 dimensions: how versions become intervals, and how a fact finds the one that was valid. -#}

{% macro beginning_of_time() -%}
    timestamptz '1900-01-01 00:00:00+00'
{%- endmacro %}

{% macro end_of_time() -%}
    timestamptz '9999-12-31 00:00:00+00'
{%- endmacro %}

{#-
    The surrogate key of a version. It is a pure function of the natural key and the interval's start, so that
    every rebuild gives a version the same key; and as the first version of a key starts at the beginning of
    time, it has the key of the member that was inferred before its row was known. Facts need no repair then.
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
    attributes    columns of `versions` that the dimension shows. Versions that follow one another and are equal in
                  these, a null being equal to a null, are one member, valid from the first of them on.

    Of versions with an equal clock the last captured one counts. Ordering by the attributes after that only
    matters for two that were captured together: the rebuilt table must not depend on their physical order. A deleted
    row may lack its key (null or blank) or its clock; such a version is no member.
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

{#- Whether the member of a dimension was valid at a moment: from its start until just before the next one's. -#}
{% macro valid_at(dimension, moment) -%}
    {{ moment }} >= {{ dimension }}.valid_from and {{ moment }} < {{ dimension }}.valid_to
{%- endmacro %}
