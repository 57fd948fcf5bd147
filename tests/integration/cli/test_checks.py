"""`lakehouse checks`: what each check found."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.pipeline.check_results import record
from orders_lakehouse.tables import CHECK_RESULTS
from tests.support.printed import lines_of
from tests.support.terminal import Command


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
        assert "checks --failed` shows what was found" in lines[-1]
        assert max(map(len, lines)) <= 80
        assert "\x1b" not in output

    def test_failing_check_is_shown_with_its_repair_command(self, command: Command) -> None:
        status, output, _ = command("checks", "--failed")
        assert status == 1
        assert lines_of(output)[:3] == [
            "✗ cleansed/order_items rejected_share: 2017-01-02 to 2017-01-03",
            "  25 of 30 rows rejected (expected at most 50% rejected)",
            "",
        ]
        details = command("checks", "--failed", "--check", "rejected_share")[1]
        assert lines_of(details)[:5] == [
            "✗ cleansed/order_items rejected_share",
            "  2017-01-02 to 2017-01-03",
            "    expected  at most 50% rejected",
            "    found     25 of 30 rows rejected",
            "",
        ]
        assert "backfill 2017-01-02 2017-01-03" in details
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
        assert lines_of(output)[0] == "No check fails."
        assert "1 check warns: " in output
        status, output, _ = command("checks", "--failed", "--warnings")
        assert status == 0
        assert output.startswith("! cleansed/order_items rejected_share: 2017-01-02 to 2017-01-03")
        assert "checks --failed --warnings` shows what was found" in command("checks")[1]

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
