from pathlib import Path

import polars as pl
import pytest

from orders_lakehouse.cli.readonly_sql import QueryError, check

QUERIES = [
    "select * from cleansed.orders where order_date = '2017-03-01'",
    'select a from "cleansed/orders";',
    "with big as (select * from raw.orders) select count(*) filter (where a > 1) from big join raw.x using (id)",
    "select a from raw.orders union all by name select a from raw.x",
    "from raw.orders select a, b::date",
    "select * exclude (a) from raw.orders where name ~ '^x' qualify row_number() over (partition by a order by b) = 1",
    "select distinct on (a) * from raw.orders order by a limit 5 offset 2",
    "select t.x from raw.orders, unnest(xs) as t(x) -- delete from raw.orders",
    "select 'delete from x; drop table y' as text",
    "values (1, 2)",
]
CHANGES = [
    "/* */ delete from raw.orders",
    "-- select\ndelete from raw.orders",
    "with gone as (delete from raw.orders returning *) select * from gone",
    "select 1 into copied",
    "create table copied as select 1",
    "truncate raw.orders",
    "copy raw.orders to '/tmp/x'",
    "merge into a using b on true when matched then delete",
    "explain select 1",
    "show tables",
]
FILES = [
    "select * from read_parquet('{}')",
    "select * from READ_CSV ('{}')",
    "select * from \"read_csv\"('{}')",
    "select * from read_csv/* */('{}')",
    "select 1 where exists (select * from read_ipc('{}'))",
    "with x as (select * from read_json('{}')) select * from x",
    "select /* /* */ 1; */ * from read_csv('{}')",
]


@pytest.mark.parametrize("query", QUERIES)
def test_query_passes(query: str) -> None:
    check(query)


@pytest.mark.parametrize("query", CHANGES)
def test_statement_that_is_no_query_is_refused(query: str) -> None:
    with pytest.raises(QueryError, match="read here, not changed; expected one query"):
        check(query)


@pytest.mark.parametrize("query", FILES)
def test_file_is_not_read(query: str, tmp_path: Path) -> None:
    path = tmp_path / "secret.csv"
    path.write_text("a\n1\n")
    with pytest.raises(QueryError, match="reads a file"):
        check(query.format(path))


def test_engine_has_no_other_way_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    query = f"select * from '{tmp_path}/secret.csv'"
    check(query)
    with pytest.raises(pl.exceptions.PolarsError, match="was not found"):
        pl.SQLContext({}).execute(query).collect()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "found 0 statements"),
        ("select 1; select 2", "found 2 statements"),
        ("select * from generate_series(1, 2)", "is no table"),
        ("select (", "expected one query"),
        ("(" * 5000, "expected one query"),
    ],
)
def test_text_that_is_not_one_query_is_refused(query: str, said: str) -> None:
    with pytest.raises(QueryError, match=said):
        check(query)
