"""What a pull request is told of itself: changes to the project, each on a branch of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import psutil
import pytest
from adbc_driver_postgresql import dbapi

from orders_lakehouse.postgres.embedded import remove_embedded_server, stop_embedded_server
from orders_lakehouse.settings import PROJECT
from pr_checks.build import Build, copy_warehouse
from pr_checks.commits import sides, unpack
from tests.support.git import git

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pr_checks")]

# Of files, what stands there and what is to stand there instead.
Edits = dict[str, list[tuple[str, str]]]
Told = Callable[[str, Edits], tuple[int, str]]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Make a change on a branch, and run the checks of pull requests on it: their status, and the report."""
    folder = tmp_path_factory.mktemp("pr_checks")
    # A server that root starts runs as somebody else, who may not look into the folders of tests.
    repository, home = folder / "project", Path(tempfile.mkdtemp(prefix="lakehouse-tests-"))
    repository.mkdir()
    unpack(PROJECT, sides(PROJECT, "HEAD").change, repository)
    git(repository, "init")
    git(repository, "add", "--all")
    git(repository, "commit", "--message", "As it stands")

    def change(name: str, edits: Edits) -> tuple[int, str]:
        git(repository, "checkout", "--force", "-B", name, "main")
        for file, before, after in ((file, *edit) for file, of_file in edits.items() for edit in of_file):
            text = (repository / file).read_text()
            assert text.count(before) == 1, f"{before!r} stands {text.count(before)} times in {file}"
            (repository / file).write_text(text.replace(before, after))
        if edits:
            git(repository, "commit", "--all", "--message", name)
        report = folder / f"{name}.md"
        environment = {**os.environ, "PYTHONPATH": str(repository)}
        done = subprocess.run(
            [sys.executable, "-m", "pr_checks", "--home", str(home), "--report", str(report)],
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert report.exists(), done.stdout + done.stderr
        assert report.read_text() in done.stdout
        return done.returncode, report.read_text()

    yield change
    assert not stop_embedded_server(home), "the server of the checks was left running"
    assert not [process for process in psutil.process_iter(["cmdline"]) if str(home) in str(process.info["cmdline"])]
    remove_embedded_server(home)
    shutil.rmtree(home)


@pytest.mark.parametrize(
    ("made", "schemas"),
    [
        ([], ["lake", "marts", "staging"]),
        (["marts"], []),
    ],
)
def test_rebuilt_warehouse_tables_are_not_copied(
    tmp_path: Path, postgres_url_factory: Callable[[str], str], made: list[str], schemas: list[str]
) -> None:
    base_url, change_url = postgres_url_factory("base"), postgres_url_factory("change")
    base, change = (
        Build(tmp_path, name, unquote(socket))
        for name, _, socket in (url.partition("@/")[2].partition("?host=") for url in (base_url, change_url))
    )
    with dbapi.connect(base_url, autocommit=True) as connection, connection.cursor() as cursor:
        for schema in ("lake", "staging", "marts"):
            cursor.execute(f"CREATE SCHEMA {schema}")
        cursor.execute("CREATE TABLE marts.gone (a int)")
    copy_warehouse(base, change, made)
    with dbapi.connect(change_url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT nspname FROM pg_namespace WHERE nspname IN ('lake', 'staging', 'marts') ORDER BY 1")
        assert [name for (name,) in cursor.fetchall()] == schemas


@pytest.mark.thorough
def test_change_that_reaches_no_data_changes_none(told: Told) -> None:
    status, report = told("words", {"README.md": [("# Orders lakehouse", "# The orders lakehouse")]})
    assert status == 0, report
    assert "none fails. No table differs.**" in report
    assert "nothing was built again" in report
    assert "## Failures" not in report


@pytest.mark.thorough
def test_other_rounding_changes_lines_and_fails_against_shop(told: Told) -> None:
    status, report = told(
        "rounding",
        {
            "orders_lakehouse/transforms/money.py": [
                ('_NUDGE = Decimal("0.000000000000005")', '_NUDGE = Decimal("-0.004999999999995")')
            ]
        },
    )
    assert status == 1
    assert "Built again: raw, cleansed" in report
    # A half cent of each of these lines, and of their orders, dates and customers; nothing else.
    assert "| `cleansed/order_items` | 8,827 | 8,828 | 1 | 0 | 44 |" in report
    assert "| `marts/fct_order_lines` | 8,824 | 8,825 | 1 | 0 | 44 |" in report
    assert "| `total_price` | 900024959.1800 | 900024958.7400 |" in report
    assert "| 31225765806 / 1 | total_price | 27.7300 | 27.7200 |" in report
    for same in ("orders", "payments", "customers", "products"):
        assert f"| `cleansed/{same}` |" not in report
    assert "| `marts/fct_order_lines` fct_order_lines_total_price | ❌ |" in report
    assert "| `cleansed/order_items` total_price_as_in_shop | ❌ |" in report


@pytest.mark.thorough
def test_removed_rule_lets_its_rejected_rows_pass(told: Told) -> None:
    status, report = told(
        "rule",
        {
            "orders_lakehouse/entities/payments.py": [
                (
                    'ge=0, description="Amount in currency", metadata={"reason": "amount_negative", "unit"',
                    'description="Amount in currency", metadata={"unit"',
                )
            ]
        },
    )
    assert "| passes now | `payments` | `amount_negative` | 1 | negative |" in report
    assert "| `cleansed/payments` |" in report
    assert "`cleansed/payments`: rule `amount_negative` is gone (amount is at least 0)." in report
    # The rows of a rule are none of its version any more.
    assert status == 1
    assert "version" in report.partition("## Failures")[2].partition("## ")[0]


@pytest.mark.thorough
def test_renamed_column_that_dbt_reads_breaks_dbt(told: Told) -> None:
    status, report = told(
        "column",
        {
            "orders_lakehouse/curated/order_lines.py": [
                (
                    'order_status: pl.String = pa.Field(isin=ORDER_STATUSES, description="State of the order")',
                    'state: pl.String = pa.Field(isin=ORDER_STATUSES, description="State of the order")',
                ),
                ('"currency", order_status="status"', '"currency", state="status"'),
            ],
        },
    )
    assert status == 1
    broke = report.partition("## Failures")[2].partition("\n## ")[0]
    assert "curated/order_lines" in broke
    assert "order_status" in broke
    assert "dbt" in broke
