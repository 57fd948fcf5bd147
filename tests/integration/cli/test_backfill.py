"""`lakehouse backfill`: what it prints of dates that fail."""

import json
from collections.abc import Callable

import dagster as dg
import pytest

from tests.support.printed import lines_of
from tests.support.terminal import Command


class TestBackfill:
    @pytest.fixture
    def runs(
        self, monkeypatch: pytest.MonkeyPatch, postgres_url_factory: Callable[[str], str]
    ) -> list[tuple[str, str]]:
        """Puts definitions in force whose one check fails on 2017-03-04; lists the ranges that were run."""
        from orders_lakehouse import definitions
        from orders_lakehouse.partitions import DAILY

        # Without an URL, the command would start a Postgres server for each test.
        monkeypatch.setenv("SHOP_DATABASE_URL", postgres_url_factory("shop"))
        monkeypatch.setenv("WAREHOUSE_DATABASE_URL", postgres_url_factory("warehouse"))
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
                "found": "",
            }
        ]
        assert run["errors"] == {}
