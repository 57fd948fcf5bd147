"""`lakehouse status`: the tables of a lake, and what does not hold."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from adbc_driver_postgresql import dbapi

from orders_lakehouse.curated.customer_profile import CUSTOMER_PROFILE
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.pipeline.check_results import record
from orders_lakehouse.tables import CHECK_RESULTS
from tests.support.printed import answer, lines_of, quarantine, sales, write
from tests.support.terminal import Command

FACTS = """
CREATE SCHEMA marts;
CREATE TABLE marts.dim_date AS SELECT generate_series(1, 31) AS date_id;
CREATE TABLE marts.fct_orders (date_id int);
INSERT INTO marts.fct_orders VALUES (20170301), (20170301), (20170304);
CREATE TABLE marts.fct_order_lines (date_id int);
"""


class TestStatus:
    def test_empty_lake_stays_empty(self, command: Command, tmp_path: Path) -> None:
        status, output, errors = command("status")
        assert (status, errors) == (0, "")
        assert output.startswith(f"Nothing here yet: no table in {tmp_path}/lake; `make demo` or `make backfill`")
        assert "the embedded Postgres is not running" in output
        assert list(tmp_path.iterdir()) == []

    def test_tables_are_told_from_their_logs(self, command: Command, lake: Lake) -> None:
        before = datetime.now(UTC)
        write(lake, ORDERS, {"order_date": date(2017, 3, 1)}, {"order_date": date(2017, 3, 1)})
        write(lake, ORDERS, {"order_date": date(2017, 3, 4)})
        quarantine(lake, "o1", "o2", "o3")
        write(lake, CUSTOMER_PROFILE, {})
        found = {one["table"]: one for one in answer(command, "status")["tables"]}
        assert list(found) == ["cleansed/orders", "curated/customer_profile"]
        changed_at = datetime.fromisoformat(found["cleansed/orders"].pop("changed_at"))
        assert before - timedelta(seconds=1) < changed_at < datetime.now(UTC) + timedelta(seconds=1)
        assert found["cleansed/orders"] == {
            "table": "cleansed/orders",
            "rows": 3,
            "dates": 2,
            "first": "2017-03-01",
            "last": "2017-03-04",
            "version": 2,
            "quarantined": 3,
            "worst_check": "",
            "rows_are_estimated": False,
        }
        profile = found["curated/customer_profile"]
        assert (profile["rows"], profile["dates"], profile["first"], profile["version"]) == (1, None, None, 1)

    def test_table_without_rows_has_no_dates(self, command: Command, lake: Lake) -> None:
        lake.open(RAW_ORDERS)
        (found,) = answer(command, "status")["tables"]
        assert (found["rows"], found["dates"], found["first"], found["last"], found["version"]) == (0, 0, None, None, 0)

    def test_failing_checks_are_listed_below(self, command: Command, lake: Lake) -> None:
        write(lake, ORDERS, {"order_date": date(2017, 3, 1)})
        write(lake, DAILY_SALES, sales("2017-03-01", "1.00"))
        judged = {"run_id": "run", "evaluated_at": datetime(2017, 3, 2, tzinfo=UTC), "severity": "ERROR"}
        judgements = [
            {**judged, "asset": asset, "check_name": name, "date": date(2017, 3, day), "passed": passed}
            for asset, name, day, passed in [
                ("cleansed/orders", "no_row_lost", 1, False),
                ("cleansed/orders", "no_row_lost", 2, False),
                ("curated/daily_sales", "daily_sales_contract", 1, True),
            ]
        ]
        record(lake, pl.DataFrame(judgements, schema=CHECK_RESULTS.schema))
        status, output, _ = command("status")
        lines = lines_of(output)
        assert status == 0
        assert any(line.startswith("✗ orders ") for line in lines)
        assert any(line.startswith("✓ daily_sales ") for line in lines)
        assert "✗ cleansed/orders: FAILED no_row_lost (2 dates)" in lines
        assert max(map(len, lines)) <= 80

    def test_full_line_fits_into_80_columns(self, command: Command, lake: Lake) -> None:
        write(lake, ORDERS, {"order_date": date(2017, 3, 1)}, {"order_date": date(2018, 1, 1)})
        quarantine(lake, "o1", "o2")
        _, output, _ = command("status")
        (line,) = [line for line in lines_of(output) if line.startswith("  orders")]
        assert line.split()[:6] == ["orders", "2", "2", "2017-03-01", "2018-01-01", "1"]
        assert line.split()[7:] == ["2"]

    def test_marts_are_counted(
        self,
        command: Command,
        monkeypatch: pytest.MonkeyPatch,
        postgres_url_factory: Callable[[str], str],
    ) -> None:
        url = postgres_url_factory("warehouse")
        with dbapi.connect(url) as connection, connection.cursor() as cursor:
            cursor.executescript(FACTS)
            connection.commit()
        monkeypatch.setenv("WAREHOUSE_DATABASE_URL", url)
        found = answer(command, "status")
        counted = [(one["table"], one["rows"], one["dates"], one["first"], one["last"]) for one in found["tables"]]
        assert counted == [
            ("marts/dim_date", 31, None, None, None),
            ("marts/fct_order_lines", 0, 0, None, None),
            ("marts/fct_orders", 3, 2, "2017-03-01", "2017-03-04"),
        ]
        assert found["marts_unknown"] is None
        assert not any(one["rows_are_estimated"] for one in found["tables"])

        # A large fact is not read for that.
        monkeypatch.setattr("orders_lakehouse.cli.status._COUNTED_ROWS", 2)
        with dbapi.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute("ANALYZE marts.fct_orders")
        large = {one["table"]: one for one in answer(command, "status")["tables"]}
        assert large["marts/fct_orders"] == {
            **next(one for one in found["tables"] if one["table"] == "marts/fct_orders"),
            "rows_are_estimated": True,
        }
        assert [name for name, one in large.items() if one["rows_are_estimated"]] == ["marts/fct_orders"]
        _, output, _ = command("status")
        (line,) = [line for line in lines_of(output) if line.startswith("  fct_orders ")]
        assert line.split() == ["fct_orders", "~3", "2", "2017-03-01", "2017-03-04"]

    def test_warehouse_that_cannot_be_reached_is_no_failure(
        self, command: Command, lake: Lake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lake.open(RAW_ORDERS)
        monkeypatch.setenv("WAREHOUSE_DATABASE_URL", "postgresql://dbt:s3cret@127.0.0.1:1/warehouse")
        status, output, _ = command("status")
        assert status == 0
        assert "Marts: the warehouse database (host=127.0.0.1 port=1 dbname=warehouse user=dbt)" in output
        assert "s3cret" not in output
