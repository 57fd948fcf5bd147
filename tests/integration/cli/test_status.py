"""What the terminal shows of a lake: its status, answers to queries, tables as they were."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from adbc_driver_postgresql import dbapi
from deltalake import DeltaTable, write_deltalake

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.curated.customer_profile import CUSTOMER_PROFILE
from orders_lakehouse.curated.daily_sales import DAILY_SALES
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.orders import ORDERS, RAW_ORDERS
from orders_lakehouse.pipeline.check_results import record
from orders_lakehouse.tables import CHECK_RESULTS, QUARANTINE_OF
from tests.support.rows import VALID, rows
from tests.support.terminal import Command

FACTS = """
CREATE SCHEMA marts;
CREATE TABLE marts.dim_date AS SELECT generate_series(1, 31) AS date_id;
CREATE TABLE marts.fct_orders (date_id int);
INSERT INTO marts.fct_orders VALUES (20170301), (20170301), (20170304);
CREATE TABLE marts.fct_order_lines (date_id int);
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"), "UTC")


def sales(day: str, net: str) -> dict[str, Any]:
    return {"order_date": date.fromisoformat(day), "net": Decimal(net), "gross": Decimal("100000.00")}


def write(lake: Lake, table: Table, *values: dict[str, Any]) -> None:
    write_deltalake(lake.open(table), rows(table, *values), mode="append")


def quarantine(lake: Lake, *order_ids: str) -> None:
    verdict = {"order_date": date(2017, 3, 1), "reasons": "status_unknown", "contract_version": "1", "versions": 1}
    rejected = [{**VALID["raw/orders"], **verdict, "order_id": order_id} for order_id in order_ids]
    table = QUARANTINE_OF["orders"]
    write_deltalake(lake.open(table), pl.DataFrame(rejected, schema=table.schema), mode="append")


def lines_of(output: str) -> list[str]:
    return [line.rstrip() for line in output.splitlines()]


def answer(command: Command, *arguments: str) -> Any:
    status, output, errors = command(*arguments, "--json")
    assert (status, errors) == (0, "")
    return json.loads(output)


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


class TestChecks:
    DAYS = tuple(date(2017, 1, number) for number in range(1, 6))
    BROKEN = DAYS[1:3]

    @pytest.fixture(autouse=True)
    def judged(self, lake: Lake) -> None:
        """Five dates, of which two are broken."""
        self.judge(lake, "a-run-of-all", "ERROR", self.DAYS, self.BROKEN)

    def judge(self, lake: Lake, run: str, severity: str, days: Sequence[date], broken: Sequence[date]) -> None:
        """Write what a run found."""
        judged = {"run_id": run, "evaluated_at": datetime.now(UTC), "severity": severity}
        share = {**judged, "asset": "cleansed/order_items", "check_name": "rejected_share"}
        expected = {"expected": "at most 50% rejected", "found": "25 of 30 rows rejected"}
        results = [
            *(
                {**share, "date": day, "passed": day not in broken, **(expected if day in broken else {})}
                for day in days
            ),
            {**judged, "asset": "raw/orders", "check_name": "raw_matches_source", "date": days[0], "passed": True},
        ]
        record(lake, pl.DataFrame(results, schema=CHECK_RESULTS.schema))

    def test_summary_names_failing_checks(self, command: Command) -> None:
        status, output, _ = command("checks")
        lines = lines_of(output)
        assert status == 0
        assert any(line.startswith("✗ rejected_share") and "5 2017-01-01 2017-01-05" in line for line in lines)
        assert any(line.startswith("✓ raw_matches_source") for line in lines)
        assert "✗ cleansed/order_items rejected_share: 2017-01-02 to 2017-01-03" in lines
        assert max(map(len, lines)) <= 80
        assert "\x1b" not in output

    def test_failing_check_is_shown_with_its_repair_command(self, command: Command) -> None:
        status, output, _ = command("checks", "--failed")
        assert status == 1
        assert lines_of(output)[:5] == [
            "✗ cleansed/order_items rejected_share",
            "  2017-01-02 to 2017-01-03",
            "    expected  at most 50% rejected",
            "    found     25 of 30 rows rejected",
            "",
        ]
        assert "backfill 2017-01-02 2017-01-03" in output
        found = json.loads(command("checks", "--failed", "--json")[1])
        assert [(one["date"], one["found"]) for one in found] == [
            ("2017-01-02", "25 of 30 rows rejected"),
            ("2017-01-03", "25 of 30 rows rejected"),
        ]

    def test_date_shows_what_each_check_found(self, command: Command) -> None:
        status, output, _ = command("checks", "--date", "2017-01-02", "--table", "cleansed.order_items")
        assert status == 0
        assert "    found     25 of 30 rows rejected" in lines_of(output)
        assert "raw_matches_source" not in output

    def test_last_evaluation_counts_and_earlier_ones_are_kept(self, command: Command, lake: Lake) -> None:
        self.judge(lake, "a-later-run", "ERROR", self.BROKEN, ())
        status, output, _ = command("checks", "--failed")
        assert (status, output) == (0, "No check fails.\n")
        history = lines_of(command("checks", "--history", "--check", "rejected_share", "--table", "order_items")[1])
        assert [line[0] for line in history] == ["c", "✗", " ", "✓"]
        assert history[2] == "    fails on 2017-01-02 to 2017-01-03"

    def test_warning_is_shown_and_is_no_failure(self, command: Command, lake: Lake) -> None:
        self.judge(lake, "a-later-run", "WARN", self.BROKEN, self.BROKEN)
        status, output, _ = command("checks", "--failed")
        assert status == 0
        assert output.startswith("! cleansed/order_items rejected_share")

    def test_unusual_value_is_shown_and_is_no_failure(self, command: Command, lake: Lake) -> None:
        self.judge(lake, "a-later-run", "ERROR", self.BROKEN, ())
        unusual = {"asset": "curated/daily_sales", "check_name": "volume_as_usual", "date": self.DAYS[0]}
        judged = {"passed": False, "severity": "ERROR", "run_id": "r", "evaluated_at": datetime.now(UTC)}
        record(lake, pl.DataFrame([{**unusual, **judged}], schema=CHECK_RESULTS.schema))
        status, output, _ = command("checks", "--failed")
        assert status == 0
        assert output.startswith("✗ curated/daily_sales volume_as_usual")
        assert "backfill" not in output

    def test_empty_lake_stays_empty(self, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        empty = tmp_path / "empty"
        monkeypatch.setenv("LAKE_URL", str(empty))
        assert command("checks")[:2] == (0, "No check result yet; `make backfill` makes some.\n")
        status, output, errors = command("checks", "--failed")
        assert (status, output) == (1, "")
        assert errors.startswith(f"Error: no check has judged anything in {empty} yet")
        assert not empty.exists()


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
            ("select * from raw.orders", ["raw/orders is not made yet", "make backfill"]),
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


class TestRead:
    @pytest.fixture(autouse=True)
    def versions(self, lake: Lake) -> None:
        write(lake, DAILY_SALES, sales("2017-03-01", "0.10"))
        write(lake, DAILY_SALES, sales("2017-03-02", "0.20"))

    def nets(self, command: Command, *arguments: str) -> list[str]:
        return sorted(row["net"] for row in answer(command, "read", *arguments))

    @pytest.mark.parametrize("name", ["curated.daily_sales", "curated/daily_sales", "daily_sales"])
    def test_version_shows_the_table_as_it_was(self, command: Command, name: str) -> None:
        assert self.nets(command, name) == ["0.1000", "0.2000"]
        assert self.nets(command, name, "--version", "2") == ["0.1000", "0.2000"]
        assert self.nets(command, name, "--version", "1") == ["0.1000"]
        assert self.nets(command, name, "--version", "0") == []

    def test_instant_shows_the_table_as_of_then(self, command: Command, lake: Lake) -> None:
        commits = DeltaTable(f"{lake.url}/{DAILY_SALES.path}").history()
        first = next(commit["timestamp"] for commit in commits if commit["version"] == 1)
        then = datetime.fromtimestamp(first / 1000, UTC)
        assert self.nets(command, "daily_sales", "--as-of", then.isoformat()) == ["0.1000"]
        assert self.nets(command, "daily_sales", "--as-of", f"{then:%Y-%m-%dT%H:%M:%S.%f}") == ["0.1000"]
        assert self.nets(command, "daily_sales", "--as-of", "2999-01-01") == ["0.1000", "0.2000"]
        at_home = (then + timedelta(hours=2)).replace(tzinfo=None).isoformat() + "+02:00"
        assert self.nets(command, "daily_sales", "--as-of", at_home) == ["0.1000"]

    def test_date_shows_its_partition(self, command: Command) -> None:
        assert self.nets(command, "daily_sales", "--date", "2017-03-02") == ["0.2000"]
        assert self.nets(command, "daily_sales", "--date", "2017-03-03") == []

    def test_table_says_which_version_it_is(self, command: Command) -> None:
        _, output, _ = command("read", "daily_sales", "--version", "1")
        lines = lines_of(output)
        assert lines[0] == "curated/daily_sales, version 1"
        assert lines[3].endswith("0.1000")
        assert lines[4] == "1 row."

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["daily_sales", "--version", "3"], "curated/daily_sales has no version 3; its versions are 0 to 2"),
            (
                ["daily_sales", "--as-of", "2017-01-01"],
                "no version as of 2017-01-01T00:00:00Z; its first one, 0, is of",
            ),
            (["daily_sales", "--as-of", "yesterday"], "'yesterday' is no instant; expected ISO 8601"),
            (["daily_sales", "--as-of", "2017-01-01", "--version", "1"], "expected one of them"),
            (["orders"], "'orders' may be any of raw.orders, cleansed.orders, quarantine.orders"),
            (["sales"], "there is no table 'sales'.\nThe tables are\n  raw.  customers"),
            (["raw.orders"], "raw/orders is not made yet"),
        ],
    )
    def test_missing_version_or_date_is_refused_with_existing_ones(
        self, command: Command, arguments: list[str], said: str
    ) -> None:
        status, output, errors = command("read", *arguments)
        assert (status, output) == (1, "")
        assert said in errors

    def test_table_without_dates_is_not_read_by_date(self, command: Command, lake: Lake) -> None:
        write(lake, CUSTOMER_PROFILE, {})
        status, _, errors = command("read", "customer_profile", "--date", "2017-03-01")
        assert (status, errors) == (1, "Error: curated/customer_profile has no dates; read it without --date\n")


class TestBackfill:
    @pytest.fixture
    def runs(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
        """Puts definitions in force whose one check fails on 2017-03-04; lists the ranges that were run."""
        from orders_lakehouse import definitions
        from orders_lakehouse.partitions import DAILY

        seen = []

        @dg.asset(
            key=["cleansed", "orders"],
            partitions_def=DAILY,
            backfill_policy=dg.BackfillPolicy.single_run(),
            check_specs=[dg.AssetCheckSpec("no_row_lost", asset=["cleansed", "orders"], blocking=True)],
        )
        def orders(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            keys = list(context.partition_keys)
            seen.append((keys[0], keys[-1]))
            bad = [key for key in keys if key == "2017-03-04"]
            result = dg.AssetCheckResult(
                check_name="no_row_lost", passed=not bad, metadata={"failed_dates": ", ".join(bad)}
            )
            return dg.MaterializeResult(check_results=[result])

        job = dg.define_asset_job("refresh_all_job", selection=[orders])
        monkeypatch.setattr(definitions, "defs", dg.Definitions(assets=[orders], jobs=[job]))
        return seen

    def test_bad_dates_are_named_and_left_out(self, command: Command, runs: list[tuple[str, str]]) -> None:
        status, output, errors = command("backfill", "2017-03-01", "2017-03-06")
        assert status == 1
        assert "Checks: 0 passed, 0 warned, 1 failed." in lines_of(output)
        assert "check no_row_lost on cleansed/orders failed for 1 date: 2017-03-04\n" in errors
        (again,) = [line for line in errors.splitlines() if "backfill 2017-03-01" in line]
        arguments = again.split()[1:]
        assert arguments == ["backfill", "2017-03-01", "2017-03-06", "--without", "2017-03-04"]

        assert command(*arguments)[0] == 0
        assert runs[1:] == [("2017-03-01", "2017-03-03"), ("2017-03-05", "2017-03-06")]

    def test_first_stretch_that_fails_is_the_last(self, command: Command, runs: list[tuple[str, str]]) -> None:
        status, _, errors = command("backfill", "2017-03-01", "2017-03-06", "--without", "2017-03-02")
        assert status == 1
        assert runs == [("2017-03-01", "2017-03-01"), ("2017-03-03", "2017-03-06")]
        assert "backfill 2017-03-01 2017-03-06 --without 2017-03-02 --without 2017-03-04\n" in errors

    @pytest.mark.usefixtures("runs")
    def test_summary_has_a_json_form(self, command: Command) -> None:
        status, output, errors = command("backfill", "2017-03-03", "2017-03-04", "--json")
        found = json.loads(output)
        assert status == 1
        assert "failed for 1 date: 2017-03-04" in errors
        assert (found["first"], found["last"], found["without"]) == ("2017-03-03", "2017-03-04", [])
        assert found["success"] is False
        (run,) = found["runs"]
        assert run["checks"] == [
            {
                "asset": "cleansed/orders",
                "check": "no_row_lost",
                "passed": False,
                "severity": "ERROR",
                "failed_dates": ["2017-03-04"],
                "blocking": True,
                "accounts": {},
            }
        ]
        assert run["errors"] == {}
