"""`lakehouse contracts`: what it prints, when it publishes, and how it ends."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orders_lakehouse.cli import contracts
from orders_lakehouse.cli.main import cli
from orders_lakehouse.contracts.document import documents
from orders_lakehouse.tables import TABLES


@pytest.fixture
def now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The contracts of the program, to change them, where nothing has been published."""
    changed = copy.deepcopy(documents(TABLES))
    monkeypatch.setattr(contracts, "PUBLISHED", tmp_path / "published.json")
    monkeypatch.setattr(contracts, "PROJECT", tmp_path)
    monkeypatch.setattr(contracts, "documents", lambda _: changed)
    return changed


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["contracts", *arguments])


def test_contracts_are_published_compared_and_republished(now: dict[str, Any]) -> None:
    first = run()
    assert (first.exit_code, "Other than published: raw/customers" in first.output) == (1, True)
    assert run("--write").exit_code == 0
    as_published = contracts.PUBLISHED.read_text()
    assert json.loads(as_published) == now
    assert (run().exit_code, run().output) == (
        0,
        f"{len(now)} contracts equal the published ones, and have all columns that are read.\n",
    )

    now["curated/daily_sales"]["columns"]["net"]["type"] = "Float64"
    for arguments in ((), ("--write",)):
        refused = run(*arguments)
        assert refused.exit_code == 1
        assert (
            "curated/daily_sales: type of column net was Decimal(precision=38, scale=4), is Float64" in refused.output
        )
    assert "Nothing was written: 1 found, expected none." in refused.output
    assert contracts.PUBLISHED.read_text() == as_published

    now["curated/daily_sales"]["version"] = "3"
    stale = run()
    assert (stale.exit_code, "Other than published: curated/daily_sales." in stale.output) == (1, True)
    assert (run("--write").exit_code, run().exit_code) == (0, 0)


def test_column_read_but_not_offered_is_refused(now: dict[str, Any]) -> None:
    assert run("--write").exit_code == 0
    now["cleansed/payments"] |= {"version": "3"}
    del now["cleansed/payments"]["columns"]["method"]
    refused = run("--write")
    assert refused.exit_code == 1
    assert "cleansed/payments has no column method; dbt source lake.payments needs it" in refused.output


def test_removed_table_is_reported_and_does_not_block(now: dict[str, Any]) -> None:
    assert run("--write").exit_code == 0
    del now["checks/results"]
    stale = run()
    assert (stale.exit_code, "Other than published: checks/results." in stale.output) == (1, True)
    assert (run("--write").exit_code, run().exit_code) == (0, 0)


def test_removed_table_with_readers_blocks(now: dict[str, Any]) -> None:
    assert run("--write").exit_code == 0
    del now["cleansed/payments"]
    refused = run("--write")
    assert refused.exit_code == 1
    assert "cleansed/payments has no column amount; dbt source lake.payments needs it" in refused.output
