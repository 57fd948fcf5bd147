"""What a lakehouse of a commit begins with, and when it counts as built."""

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from orders_lakehouse.tables import CHECK_RESULTS
from pr_checks import build
from pr_checks.build import Build, BuildError, base_build, change_build, copy_lake, digest_of_inputs

DATES = date(2017, 1, 1), date(2017, 1, 2)
COMMIT = "0123456789abcdef"
CHECK = {"asset": "cleansed/orders", "check": "orders_contract", "severity": "ERROR"}
HELD = {"run_id": "r", "success": True, "checks": [{**CHECK, "passed": True}], "errors": {}}
DECLARED = [["cleansed/orders", "orders_contract"]]
Answers = Callable[..., None]


@pytest.fixture(autouse=True)
def dropped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No server, no shop, no git, no dbt; the databases that are dropped."""
    names: list[str] = []
    monkeypatch.setattr(build, "embedded_server", lambda _: "/socket")
    monkeypatch.setattr(build, "_drop", lambda _, database: names.append(database))
    for name in ("load", "unpack", "_create", "copy_warehouse", "_parse"):
        monkeypatch.setattr(build, name, lambda *_, **__: None)
    return names


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """Say what the process that runs a lakehouse answers."""

    def answer(stdout: str = "", stderr: str = "", status: int = 0) -> None:
        done = subprocess.CompletedProcess([], status, stdout, stderr)
        monkeypatch.setattr(Build, "python", lambda *_: done)

    return answer


def backfill(**run: Any) -> str:
    """What a base prints: its backfill, and the checks that it has."""
    return json.dumps({"runs": [{**HELD, **run}]}, indent=2) + f"\n{json.dumps(DECLARED)}\n"


def base_of(home: Path) -> Build:
    return base_build(home, COMMIT, DATES, lambda _: None)


def change_of(base: Build) -> Build:
    (base.lake / "raw").mkdir(parents=True, exist_ok=True)
    return change_build(base, COMMIT, DATES, ["marts"], dbt=True, say=lambda _: None)


class TestBase:
    def test_base_is_kept_with_its_checks_and_older_ones_go(
        self, tmp_path: Path, answers: Answers, dropped: list[str]
    ) -> None:
        (tmp_path / "base-fedcba9876").mkdir()
        answers(backfill(success=False, checks=[{**CHECK, "passed": False}]))
        first = base_of(tmp_path)
        assert (first.ran, first.errors, first.declared) == (True, {}, [("cleansed/orders", "orders_contract")])
        assert [check["passed"] for check in first.checks] == [False]
        assert [folder.name for folder in tmp_path.glob("base-*")] == [first.folder.name]
        assert dropped == ["warehouse_fedcba9876"]
        # Kept: nobody is asked again.
        answers("Traceback", status=1)
        again = base_of(tmp_path)
        assert (again.folder, again.warehouse, again.checks) == (first.folder, first.warehouse, first.checks)

    @pytest.mark.parametrize(
        ("stdout", "stderr", "said"),
        [
            (backfill(success=False, errors={"raw__orders": "no such column"}), "", "raw__orders: no such column"),
            (backfill(success=False), "", "without naming a step or a check; its log is .*r.log"),
            ("[]", "ImportError: no dagster", "its last output:\nImportError: no dagster"),
        ],
    )
    def test_base_with_a_failed_step_is_not_kept(
        self, tmp_path: Path, answers: Answers, stdout: str, stderr: str, said: str
    ) -> None:
        answers(stdout, stderr, status=1)
        for _ in range(2):
            with pytest.raises(BuildError, match=said):
                base_of(tmp_path)
        assert not list(tmp_path.glob("base-*/built.json"))

    def test_other_shop_dates_or_packages_need_another_base(
        self, tmp_path: Path, answers: Answers, dropped: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = ["orders_lakehouse/sample_shop/edge_cases.sql", "pr_checks/shop.py", "requirements.txt"]
        project = tmp_path / "project"
        for file in [*files, "orders_lakehouse/sample_shop/__pycache__/sample.pyc", "orders_lakehouse/cli/main.py"]:
            (project / file).parent.mkdir(parents=True, exist_ok=True)
            (project / file).write_text("1")
        found = [digest_of_inputs(project)]
        (project / "orders_lakehouse/sample_shop/__pycache__/sample.pyc").write_text("2")
        (project / "orders_lakehouse/cli/main.py").write_text("2")
        assert digest_of_inputs(project) == found[0]
        for file in files:
            (project / file).write_text("2")
            found.append(digest_of_inputs(project))
        assert len(set(found)) == 4

        answers(backfill())
        first = base_of(tmp_path)
        monkeypatch.setattr(build, "digest_of_inputs", lambda _: "other")
        second = base_of(tmp_path)
        assert (second.folder != first.folder, first.folder.exists()) == (True, False)
        assert dropped == [first.warehouse]


class TestChange:
    @pytest.fixture
    def base(self, tmp_path: Path, answers: Answers) -> Build:
        answers(backfill())
        return base_of(tmp_path)

    def test_reports_of_its_runs_are_merged(self, answers: Answers, base: Build) -> None:
        upkeep = {**HELD, "success": False, "checks": [], "errors": {"keeps_up": "no shop"}}
        answers(json.dumps({"runs": [HELD, upkeep], "declared": DECLARED}))
        found = change_of(base)
        assert (found.ran, len(found.checks), found.errors) == (True, 1, {"keeps_up": "no shop"})

    def test_run_failing_without_message_has_failed(self, answers: Answers, base: Build) -> None:
        answers(json.dumps({"runs": [{**HELD, "success": False, "checks": []}], "declared": []}))
        found = change_of(base)
        assert found.errors.keys() == {"run"}
        assert found.judged().is_empty()

    @pytest.mark.parametrize(
        ("stderr", "said"),
        [
            ("Traceback (most recent call last):\n  File\nImportError: no x", "ImportError: no x"),
            ("", "it ended with status -9 and no message"),
        ],
    )
    def test_run_that_breaks_off_has_made_nothing(self, answers: Answers, base: Build, stderr: str, said: str) -> None:
        answers(stderr=stderr, status=-9)
        found = change_of(base)
        assert (found.ran, found.errors) == (False, {"run": said})

    def test_project_unreadable_to_dbt_makes_nothing(self, base: Build, monkeypatch: pytest.MonkeyPatch) -> None:
        def unreadable(_: Build) -> None:
            raise BuildError("no such macro")

        monkeypatch.setattr(build, "_parse", unreadable)
        found = change_of(base)
        assert (found.ran, found.errors) == (False, {"dbt parse": "no such macro"})


@pytest.mark.parametrize(
    ("made", "tables", "assets"),
    [
        ([], {"raw/orders", "cleansed/orders", "quarantine/orders", "curated/gone"}, 4),
        (["marts"], {"raw/orders", "cleansed/orders", "quarantine/orders", "curated/gone"}, 3),
        (["curated", "marts"], {"raw/orders", "cleansed/orders", "quarantine/orders"}, 2),
        (["cleansed", "curated", "marts"], {"raw/orders"}, 1),
    ],
)
def test_rebuilt_tables_begin_without_rows_and_check_results(
    tmp_path: Path, made: list[str], tables: set[str], assets: int
) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for table in ("raw/orders", "cleansed/orders", "quarantine/orders", "curated/gone"):
        (before / table).mkdir(parents=True)
    found = pl.DataFrame({"asset": ["raw/orders", "cleansed/orders", "curated/gone", "marts/fct_orders"]}).with_columns(
        pl.lit("c").alias("check_name"),
        evaluated_at=pl.lit(datetime(2017, 1, 1, tzinfo=UTC)),
        passed=pl.lit(value=True),
    )
    found = pl.concat([pl.DataFrame(schema=CHECK_RESULTS.schema), found], how="diagonal_relaxed")
    found.write_delta(str(before / "checks" / "results"))
    copy_lake(before, after, made)
    assert {f"{folder.parent.name}/{folder.name}" for folder in after.glob("*/*")} == {*tables, "checks/results"}
    assert pl.read_delta(str(after / "checks" / "results")).height == assets


def test_with_raw_everything_begins_empty(tmp_path: Path) -> None:
    for table in ("raw/orders", "raw/key_dates", "checks/results"):
        (tmp_path / "before" / table).mkdir(parents=True)
    copy_lake(tmp_path / "before", tmp_path / "after", ["raw", "cleansed", "curated", "marts"])
    assert not (tmp_path / "after").exists()
