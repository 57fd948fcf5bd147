"""`lakehouse sql`: answers to queries."""

from pathlib import Path

import pytest

from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import ORDERS
from tests.support.printed import answer, lines_of, sales, write
from tests.support.terminal import Command


class TestSql:
    @pytest.fixture(autouse=True)
    def some_sales(self, lake: Lake) -> None:
        write(lake, DAILY_SALES, sales("2017-03-01", "0.10"), sales("2017-03-02", "0.20"))
        write(lake, ORDERS, {"order_id": "o1", "customer_id": None})

    @pytest.mark.parametrize(
        "name", ["curated.daily_sales", '"curated"."daily_sales"', '"curated.daily_sales"', '"curated/daily_sales"']
    )
    def test_tables_go_by_the_names_that_people_type(self, command: Command, name: str) -> None:
        assert answer(command, "sql", f"select sum(net) as net, count(*) as n from {name}") == [
            {"net": "0.3000", "n": 2}
        ]

    def test_tables_are_joined(self, command: Command) -> None:
        query = "select o.order_id, s.net from cleansed.orders o cross join curated.daily_sales s order by s.net desc"
        assert answer(command, "sql", query) == [
            {"order_id": "o1", "net": "0.2000"},
            {"order_id": "o1", "net": "0.1000"},
        ]

    def test_decimals_are_compared_exactly(self, command: Command) -> None:
        query = "select order_date from curated.daily_sales where net = 0.10"
        assert answer(command, "sql", query) == [{"order_date": "2017-03-01"}]

    def test_table_shows_decimals_and_nulls(self, command: Command) -> None:
        status, output, _ = command("sql", "select order_id, customer_id, versions from cleansed.orders")
        assert status == 0
        assert lines_of(output)[2:] == ["o1        null                1", "1 row."]

    def test_limit_says_that_there_is_more(self, command: Command) -> None:
        _, output, _ = command("sql", "select net from curated.daily_sales order by net", "--limit", "1")
        assert lines_of(output)[2:] == ["0.1000", "The first 1 rows; --limit shows more."]
        _, output, _ = command("sql", "select net from curated.daily_sales order by net", "--limit", "2")
        assert lines_of(output)[2:] == ["0.1000", "0.2000", "2 rows."]

    def test_csv_is_whole(self, command: Command) -> None:
        _, output, _ = command("sql", "select order_date, net from curated.daily_sales order by net", "--csv")
        assert output == "order_date,net\n2017-03-01,0.1000\n2017-03-02,0.2000\n"

    @pytest.mark.parametrize(
        ("query", "said"),
        [
            (
                "select nope from cleansed.orders",
                ['unable to find column "nope"', "The columns of cleansed.orders are"],
            ),
            ("select * from cleansed.oders", ["'cleansed.oders' was not found", "  cleansed.  customers, products"]),
            ("select * from marts.fct_orders", ["'marts.fct_orders' was not found", "Marts are in Postgres: psql"]),
            ("select * from raw.orders", ["raw/orders does not exist yet", "make backfill"]),
            ("selec 1", ["expected", "selec"]),
            ("delete from cleansed.orders", ["not changed", "select"]),
        ],
    )
    def test_invalid_query_is_refused_with_known_names(
        self, command: Command, lake: Lake, query: str, said: list[str]
    ) -> None:
        status, output, errors = command("sql", query)
        assert (status, output) == (1, "")
        assert errors.startswith("Error: ")
        assert [phrase for phrase in said if phrase.lower() not in errors.lower()] == [], errors
        assert not (Path(lake.url) / "raw").exists()

    def test_only_named_tables_are_opened(self, command: Command, lake: Lake) -> None:
        broken = Path(lake.url) / ORDERS.path / "_delta_log"
        next(broken.glob("*0.json")).write_text("not a log")
        assert len(answer(command, "sql", "select net from curated.daily_sales")) == 2
