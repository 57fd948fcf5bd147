{#-
    Which dates a run is about. Everything that filters by the run's dates does so through `run_dates`: the
    select of a fact, the delete before it, and the tests after it.
-#}

{#-
    A condition that holds for the run's dates, `from_date` to `to_date`. A fact that is built for the first
    time, or refreshed in full, takes all dates whatever the variables say, because a table made from a part of
    its dates would look complete; all but `blocked_dates`, which fail a check upstream.
-#}
{% macro run_dates(column, as_date_id=false) -%}
    {#- In this order: a full refresh is compiled without a look at the warehouse. -#}
    {%- if should_full_refresh() or (model.resource_type != 'test' and not is_incremental()) -%}
        {%- set blocked = of_run('blocked_dates') -%}
        {%- set blocked = blocked.split(',') if blocked and blocked is string else blocked -%}
        {%- if blocked and as_date_id -%}
            {{ column }} not in ({{ blocked | join(', ') | replace('-', '') }})
        {%- elif blocked -%}
            {{ column }} not in (date '{{ blocked | join("', date '") }}')
        {%- else -%}
            true
        {%- endif -%}
    {%- else -%}
        {%- set first, last = iso_date('from_date'), iso_date('to_date') -%}
        {%- if first > last -%}
            {{ exceptions.raise_compiler_error("from_date " ~ first ~ " lies after to_date " ~ last) }}
        {%- endif -%}
        {%- if as_date_id -%}
            {{ column }} between {{ first | replace('-', '') }} and {{ last | replace('-', '') }}
        {%- else -%}
            {{ column }} between date '{{ first }}' and date '{{ last }}'
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}

{#-
    A variable of the run. From the environment, in capitals after `DBT_`, if it is there: with other `--vars` than the
    last time dbt parses the whole project anew. It is looked at when SQL is made and not when the project is parsed.
-#}
{% macro of_run(variable) -%}
    {%- set told = env_var('DBT_' ~ variable | upper, '') if execute else '' -%}
    {{- return(told or var(variable)) -}}
{%- endmacro %}

{#- The date in a variable. It becomes a part of SQL statements, so nothing but a date may stand in it. -#}
{% macro iso_date(variable) -%}
    {%- set value = of_run(variable) | string -%}
    {%- if not modules.re.fullmatch('\d{4}-\d{2}-\d{2}', value) -%}
        {{ exceptions.raise_compiler_error(variable ~ " is '" ~ value ~ "'; pass a date, as YYYY-MM-DD") }}
    {%- endif -%}
    {{ return(value) }}
{%- endmacro %}

{#-
    The pre-hook of a fact. It runs in the transaction of the insert that follows, so no reader sees a date
    empty, and a date whose orders have all moved away is emptied too, which no strategy by key would do. Readers go
    on; another writer, such as a dbt whose run was killed, is waited for: the delete would not see its rows.
-#}
{% macro delete_run_dates() -%}
    {%- if is_incremental() -%}
        {{ keep_other_writers_out(this) }}
        delete from {{ this }} where {{ run_dates('date_id', as_date_id=true) }}
    {%- endif -%}
{%- endmacro %}

{#-
    Wait for other writers of a table, and have those that come later wait, until the transaction ends. Redshift knows
    one kind of lock, for which readers wait too. Elsewhere the pool of one run at a time has to do.
-#}
{% macro keep_other_writers_out(relation) -%}
    {{ return(adapter.dispatch('keep_other_writers_out')(relation)) }}
{%- endmacro %}

{% macro postgres__keep_other_writers_out(relation) -%}
    lock table {{ relation }} in share row exclusive mode;
{%- endmacro %}

{% macro redshift__keep_other_writers_out(relation) -%}
    lock table {{ relation }};
{%- endmacro %}

{% macro default__keep_other_writers_out(relation) -%}
{%- endmacro %}

{#-
    dbt renders a test's `where` before the project's macros are known. A test on a fact therefore says
    `where: __run_dates__`, and the condition is put in here, where dbt asks for the relation under test.
-#}
{% macro get_where_subquery(relation) -%}
    {%- set where = config.get('where', '') -%}
    {%- if where -%}
        {%- set where = where | replace('__run_dates__', run_dates('date_id', as_date_id=true)) -%}
        {%- do return('(select * from ' ~ relation ~ ' where ' ~ where ~ ') as tested') -%}
    {%- endif -%}
    {%- do return(relation) -%}
{%- endmacro %}
