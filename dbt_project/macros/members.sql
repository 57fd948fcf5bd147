{#-
    Operations on the members of a dimension outside of its build, for `dbt run-operation`. If a dimension cannot be
    built, it gets the members that facts need. Once it is built again, facts follow it.
-#}

{#- The columns of a dimension by their role, the list of keys that facts name, and these facts. -#}
{% macro members_of(dimension) -%}
    {{- return({
        'dim_customers': {
            'key': 'customer_key',
            'natural_key': 'customer_id',
            'name': 'customer_name',
            'named': source('lake', 'orders_by_customer_id'),
            'facts': {'fct_orders': ref('stg_lake__orders'), 'fct_order_lines': none, 'fct_shipments': none},
        },
        'dim_products': {
            'key': 'product_key',
            'natural_key': 'product_id',
            'name': 'product_name',
            'named': source('lake', 'order_lines_by_product_id'),
            'facts': {'fct_order_lines': none, 'fct_shipment_lines': none},
        },
        'dim_warehouses': {
            'key': 'warehouse_key',
            'natural_key': 'warehouse_code',
            'name': 'warehouse_name',
            'named': source('lake', 'shipments_by_warehouse_code'),
            'facts': {'fct_shipments': none, 'fct_shipment_lines': none},
        },
    }[dimension]) -}}
{%- endmacro %}

{#-
    Add the inferred members that facts name and a dimension lacks, and the unknown member. A dimension that was never
    built is created first. Existing members do not change, so facts find their known attributes.
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
            select 1 from {{ target }} as existing
            where existing.{{ of.natural_key }} is not distinct from named.{{ of.natural_key }}
        )
    {%- endcall -%}
    {%- do adapter.commit() -%}
{%- endmacro %}

{#- After failed builds of a dimension, give every row of the facts the member that was valid at its instant. -#}
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
