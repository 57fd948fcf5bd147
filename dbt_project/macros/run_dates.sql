{#-
    The dates of a run. The select of a fact, the delete before it, and the tests after it all filter through
    `run_dates`.
-#}

{#-
    A condition that holds for the run's dates, `from_date` to `to_date`. A fact that is built for the first time, or
    refreshed in full, takes all dates whatever the variables say, because a table with some of its dates would look
    complete. Only `blocked_dates`, which fail a check upstream, are left out.
-#}
{% macro run_dates(column, as_date_id=false) -%}
    {#- should_full_refresh() comes first, because it needs no query to the warehouse. -#}
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
    A variable of the run. The environment comes first (`DBT_` and the name in capitals), because other `--vars` than last
    time make dbt parse the whole project again. The variable is read when SQL is rendered, not when the project is
    parsed.
-#}
{% macro of_run(variable) -%}
    {%- set from_environment = env_var('DBT_' ~ variable | upper, '') if execute else '' -%}
    {{- return(from_environment or var(variable)) -}}
{%- endmacro %}

{#- The date in a variable. It becomes part of SQL statements, so any other text is refused. -#}
{% macro iso_date(variable) -%}
    {%- set value = of_run(variable) | string -%}
    {%- if not modules.re.fullmatch('\d{4}-\d{2}-\d{2}', value) -%}
        {{ exceptions.raise_compiler_error(variable ~ " is '" ~ value ~ "'; pass a date, as YYYY-MM-DD") }}
    {%- endif -%}
    {{ return(value) }}
{%- endmacro %}

{#-
    The pre-hook of a fact. It runs in the transaction of the following insert, so no reader sees an empty date. A date
    whose orders have all moved away is emptied too; dbt's strategies by key would not do that. Readers need not wait.
    The delete waits for another writer, such as the dbt of a killed run, because it would not see that writer's rows.
-#}
{% macro delete_run_dates() -%}
    {%- if is_incremental() -%}
        {{ keep_other_writers_out(this) }}
        delete from {{ this }} where {{ run_dates('date_id', as_date_id=true) }}
    {%- endif -%}
{%- endmacro %}

{#-
    Wait for other writers of a table, and make later ones wait until the transaction ends. Redshift has one kind of lock,
    which readers wait for, too. On other databases only Dagster's pool keeps runs apart.
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
    dbt renders a test's `where` before it knows the project's macros. So a test on a fact has `where: __run_dates__`, and
    this macro inserts the condition when dbt asks for the tested relation.
-#}
{% macro get_where_subquery(relation) -%}
    {%- set where = config.get('where', '') -%}
    {%- if where -%}
        {%- set where = where | replace('__run_dates__', run_dates('date_id', as_date_id=true)) -%}
        {%- do return('(select * from ' ~ relation ~ ' where ' ~ where ~ ') as tested') -%}
    {%- endif -%}
    {%- do return(relation) -%}
{%- endmacro %}
