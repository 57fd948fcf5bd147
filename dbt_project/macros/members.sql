{#-
    What is done about the members of a dimension beside its build, by `dbt run-operation`: a dimension that cannot be
    built gets the members that facts need, and once it is built again facts follow it.
-#}

{#- Of a dimension: its columns by their part, the list of keys that facts name, and the facts that name them. -#}
{% macro members_of(dimension) -%}
    {{- return({
        'dim_customers': {
            'key': 'customer_key',
            'natural_key': 'customer_id',
            'name': 'customer_name',
            'named': source('lake', 'orders_by_customer_id'),
            'facts': {'fct_orders': ref('stg_lake__orders'), 'fct_order_lines': none},
        },
        'dim_products': {
            'key': 'product_key',
            'natural_key': 'product_id',
            'name': 'product_name',
            'named': source('lake', 'order_lines_by_product_id'),
            'facts': {'fct_order_lines': none},
        },
    }[dimension]) -}}
{%- endmacro %}

{#-
    Infer the members that a dimension lacks: those that facts name, and the unknown one. A dimension that was never built
    is made, without rows. A member that stands is left as it is, so facts find what was known of it.
-#}
{% macro infer_members(dimension) -%}
    {%- set of = members_of(dimension) -%}
    {%- set target = ref(dimension) -%}
    {%- call statement('infer', auto_begin=true) -%}
        {%- if adapter.get_relation(target.database, target.schema, target.identifier) is none %}
        create table {{ target }} (
            {%- for column in graph.nodes['model.' ~ project_name ~ '.' ~ dimension].columns.values() %}
            {%- set required = column.constraints | selectattr('type', 'equalto', 'not_null') | list %}
            {{ column.name }} {{ column.data_type }}{{ ' not null' if required }},
            {%- endfor %}
            primary key ({{ of.key }})
        );
        {{ register_as_ours(target) }};
        {{ grant_to_readers(target) }};
        {%- endif %}
        {{ keep_other_writers_out(target) }}
        insert into {{ target }} (
            {{ of.key }}, {{ of.natural_key }}, {{ of.name }}, valid_from, valid_to, is_current, is_deleted, is_inferred
        )
        select
            case
                when named.{{ of.natural_key }} is null then {{ unknown_key() }}
                else {{ type_2_key('named.' ~ of.natural_key, beginning_of_time()) }}
            end,
            named.{{ of.natural_key }},
            case when named.{{ of.natural_key }} is null then 'Unknown' end,
            {{ beginning_of_time() }},
            {{ end_of_time() }},
            true,
            false,
            named.{{ of.natural_key }} is not null
        from (
            select {{ of.natural_key }} from {{ of.named }}
            union all
            select null
        ) as named
        where not exists (
            select 1 from {{ target }} as standing
            where standing.{{ of.natural_key }} is not distinct from named.{{ of.natural_key }}
        )
    {%- endcall -%}
    {%- do adapter.commit() -%}
{%- endmacro %}

{#- Give every row of the facts the member that was valid at its moment, after a time in which the dimension was broken. -#}
{% macro follow_members(dimension) -%}
    {%- set of = members_of(dimension) -%}
    {%- for name, naming in of.facts.items() -%}
        {%- set fact = ref(name) -%}
        {%- if adapter.get_relation(fact.database, fact.schema, fact.identifier) is not none -%}
            {%- call statement('follow_' ~ name, auto_begin=true) -%}
                {{ keep_other_writers_out(fact) }}
                update {{ fact }} as fact
                set {{ of.key }} = member.{{ of.key }}
                from {{ ref(dimension) }} as member{{ ', ' ~ naming ~ ' as named' if naming }}
                where
                    {{ 'named' if naming else 'fact' }}.{{ of.natural_key }} = member.{{ of.natural_key }}
                    {%- if naming %}
                    and fact.order_id = named.order_id
                    and fact.date_id = {{ date_id('named.order_date') }}
                    {%- endif %}
                    and {{ valid_at('member', 'fact.ordered_at') }}
                    and fact.{{ of.key }} != member.{{ of.key }}
            {%- endcall -%}
            {%- do adapter.commit() -%}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}
