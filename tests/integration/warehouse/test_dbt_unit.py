"""A shop in which nothing has happened yet, and dbt's unit tests on the warehouse that comes of it."""

import glob
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from orders_lakehouse.defs.resources import warehouse_for_dbt
from orders_lakehouse.runtime.dbt_server import COMMAND
from orders_lakehouse.settings import DBT_PROJECT, settings
from orders_lakehouse.tables import CURATED, RAW
from tests.support.lakehouse import FACTS, MARTS, Lakehouse, failures

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("dbt_unit")]


@pytest.fixture(scope="module")
def empty(shared_lakehouse: Lakehouse) -> Lakehouse:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("LAKEHOUSE_DBT_ARTIFACTS", "all")
        settings.cache_clear()
        result = shared_lakehouse.run("2017-01-01", "2017-01-03")
    settings.cache_clear()
    assert result.success, failures(result)
    return shared_lakehouse


def test_empty_shop_makes_an_empty_star_schema(empty: Lakehouse) -> None:
    assert [table.path for table in (*RAW, *CURATED) if not empty.lake_rows(table).is_empty()] == []
    rows = {mart: empty.warehouse_rows(f"SELECT count(*) FROM marts.{mart}")[0][0] for mart in MARTS}
    # The unknown members stand, six methods of payment beside one of them, and the days of two years.
    assert rows == dict.fromkeys(FACTS, 0) | {
        "dim_customers": 1,
        "dim_products": 1,
        "dim_warehouses": 1,
        "dim_payment_methods": 7,
        "dim_date": 730,
    }
    assert empty.wrong_marts() == {}


def test_dates_without_rows_are_materialized(empty: Lakehouse) -> None:
    assert empty.instance is not None
    graph = empty.definitions.resolve_asset_graph()
    dates = {
        key.to_user_string(): empty.instance.get_materialized_partitions(key) for key in graph.materializable_asset_keys
    }
    assert {asset: days for asset, days in dates.items() if days != {"2017-01-01", "2017-01-02", "2017-01-03"}} == {}
    assert len(dates) > len(MARTS)


@pytest.mark.usefixtures("empty")
def test_build_reuses_the_parse_made_ahead() -> None:
    (log,) = (settings().home / "dbt").glob("marts-*/dbt.log")
    said = [json.loads(line)["info"]["name"] for line in log.read_text().splitlines()]
    assert "PartialParsingSkipParsing" in said
    assert [name for name in os.environ if name in ("DBT_FROM_DATE", "DBT_TO_DATE", "DBT_BLOCKED_DATES")] == []


def test_lines_are_told_apart_by_bits_and_by_rows(empty: Lakehouse) -> None:
    compiled = f"{settings().home}/dbt/marts-*/compiled/**/unique_combination_fct_order_lines*.sql"
    (path,) = glob.glob(compiled, recursive=True)
    numbers = {
        # Each line once: in a row, with gaps, far beyond the bits, and with numbers that share one.
        "in a row": range(1, 40),
        "with gaps": (0, 7, 62),
        "beyond": range(200),
        "shared": (1, 64, -1, -64, 127),
        # A line twice.
        "first twice": (1, 2, 1),
        "last twice": (*range(63), 62),
        "beyond twice": (*range(200), 199),
        "negative twice": (-3, 3, -3),
    }
    values = ", ".join(f"('{order}', {number}, 20170102)" for order, lines in numbers.items() for number in lines)
    fact = f"(SELECT * FROM (VALUES {values}) AS made (order_id, line_number, date_id)) AS of_fact"
    sql = re.sub(r'"\w+"\."marts"\."fct_order_lines"', fact, Path(path).read_text())
    found = empty.warehouse_rows(sql)
    assert sorted(found) == [
        ("beyond twice", 199, 2), ("first twice", 1, 2), ("last twice", 62, 2), ("negative twice", -3, 2)
    ]  # fmt: skip


def test_unit_tests_of_the_models_pass(empty: Lakehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_DATABASE_URL", empty.warehouse_url)
    manifest = json.loads((DBT_PROJECT / "target" / "manifest.json").read_text())
    declared = {test["name"] for test in manifest["unit_tests"].values()}
    before = empty.mart_checksums()

    done = subprocess.run(
        [
            *COMMAND,
            *("--quiet", "test", "--select", "test_type:unit"),
            *("--project-dir", str(DBT_PROJECT), "--profiles-dir", str(DBT_PROJECT)),
            *("--target-path", str(tmp_path / "target"), "--log-path", str(tmp_path)),
        ],
        env={**os.environ, **warehouse_for_dbt()},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
    results = json.loads((tmp_path / "target" / "run_results.json").read_text())["results"]
    passed = {result["unique_id"].rsplit(".", 1)[-1] for result in results if result["status"] == "pass"}
    assert passed == declared
    assert len(declared) > 5
    assert empty.mart_checksums() == before
