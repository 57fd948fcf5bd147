"""`lakehouse checks` on a lake of which some dates are broken."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from orders_lakehouse.lake.results import latest
from tests.integration.conftest import Terminal, day

pytestmark = pytest.mark.slow

BROKEN = "'2017-01-02', '2017-01-03'"
SHOP = f"""
INSERT INTO shop.products VALUES ('p', 'Tea', 'Food', 'Maker', 3, 'EUR', '2016-12-15', null);
INSERT INTO shop.orders (order_id, ordered_at, status, currency, updated_at)
  SELECT 'o' || n, t, 'paid', 'EUR', t FROM generate_series(0, 4) AS n,
  LATERAL (SELECT timestamptz '2017-01-01 10:00+00' + n * interval '1 day' AS t);
INSERT INTO shop.order_items (order_id, line_number, product_id, quantity, unit_price, discount, updated_at)
  SELECT order_id, line, 'p', CASE WHEN ordered_at::date IN ({BROKEN}) AND line > 5 THEN -1 ELSE 1 END, 3, 0, updated_at
  FROM shop.orders, generate_series(1, 30) AS line;
"""
REPAIR = "UPDATE shop.order_items SET quantity = 1, updated_at = updated_at + interval '1 hour' WHERE quantity < 0"


def lines_of(output: str) -> list[str]:
    return [line.rstrip() for line in output.splitlines()]


def records(terminal: Terminal, *arguments: str) -> list[dict[str, Any]]:
    return list(json.loads(terminal.run("checks", "--json", *arguments).stdout))


def test_a_lake_with_broken_dates(terminal: Terminal) -> None:
    terminal.inspect().shop(SHOP)
    assert terminal.run("backfill", "2017-01-01", "2017-01-05").returncode == 1

    summary = terminal.run("checks")
    assert summary.returncode == 0
    lines = lines_of(summary.stdout)
    assert any(line.startswith("✗ rejected_share") and "5 2017-01-01 2017-01-05" in line for line in lines)
    assert "✗ cleansed/order_items rejected_share: 2017-01-02 to 2017-01-03" in lines
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in summary.stdout

    failed = terminal.run("checks", "--failed")
    assert failed.returncode == 1
    assert lines_of(failed.stdout)[:5] == [
        "✗ cleansed/order_items rejected_share",
        "  2017-01-02 to 2017-01-03",
        "    expected  at most 50% rejected",
        "    found     25 of 30 rows rejected",
        "",
    ]
    assert "backfill 2017-01-02 2017-01-03" in failed.stdout
    assert [(one["date"], one["found"]) for one in records(terminal, "--failed")] == [
        ("2017-01-02", "25 of 30 rows rejected"),
        ("2017-01-03", "25 of 30 rows rejected"),
    ]
    of_day = lines_of(terminal.run("checks", "--date", "2017-01-02", "--table", "cleansed.order_items").stdout)
    assert any(line.startswith("✓ no_row_lost") and "30 accounted for" in line for line in of_day)
    assert "    found     25 of 30 rows rejected" in of_day

    terminal.inspect().shop(REPAIR)
    assert terminal.run("backfill", "2017-01-02", "2017-01-03", "--job", "refresh_raw_job").returncode == 0
    assert terminal.run("backfill", "2017-01-02", "2017-01-03", "--job", "refresh_cleansed_job").returncode == 0

    healed = terminal.run("checks", "--failed")
    assert (healed.returncode, healed.stdout) == (0, "No check fails.\n")
    history = lines_of(
        terminal.run("checks", "--history", "--check", "rejected_share", "--table", "order_items").stdout
    )
    assert [line[0] for line in history] == ["c", "✗", " ", "✓"]
    assert history[2] == "    fails on 2017-01-02 to 2017-01-03"
    evaluated = latest(terminal.inspect().lake).filter(pl.col("date") == day("2017-01-02"))["passed"]
    assert evaluated.all()


def test_an_empty_lake_stays_empty(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    clean_settings: None,  # noqa: ARG001 (restores the settings afterwards)
) -> None:
    from orders_lakehouse.terminal.checks import Wanted, checks

    monkeypatch.setenv("LAKEHOUSE_HOME", str(tmp_path))
    assert checks(Wanted())
    assert capsys.readouterr().out == "No check result yet; `make backfill` makes some.\n"
    assert list(tmp_path.iterdir()) == []
