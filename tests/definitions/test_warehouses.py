"""The models are written for more than one warehouse: what dbt makes of them for each, without a connection to any."""

import json
import os
import re
import subprocess
import sys

import pytest
import sqlglot
from sqlglot import exp

from orders_lakehouse.settings import DBT_PROJECT
from orders_lakehouse.warehouse import models
from tests.support.redshift import unknown_to_redshift

DIALECTS = {"warehouse": "postgres", "redshift": "redshift"}

pytestmark = pytest.mark.xdist_group("warehouses")

# dbt for one target after another, in one process.
COMPILE = """
import sys
from dbt.cli.main import dbtRunner
for target in sys.argv[2:]:
    folder = f"{sys.argv[1]}/{target}"
    arguments = ["--quiet", "compile", "--target", target, "--target-path", folder, "--log-path", folder]
    arguments += ["--full-refresh", "--no-introspect", "--no-populate-cache"]
    if not dbtRunner().invoke(arguments).success:
        sys.exit(f"{target} does not compile")
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """SQL of every model, test and snapshot, by target and name; the facts as they are built for the first time."""
    folder = tmp_path_factory.mktemp("compiled")
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(folder), *DIALECTS],
        cwd=DBT_PROJECT,
        # Nobody listens there.
        env={**os.environ, "DBT_WAREHOUSE_HOST": "nowhere.invalid", "DBT_REDSHIFT_HOST": "nowhere.invalid"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    nodes = {target: json.loads((folder / target / "manifest.json").read_text())["nodes"] for target in DIALECTS}
    return {target: {node["name"]: node["compiled_code"] for node in nodes[target].values()} for target in DIALECTS}


@pytest.mark.parametrize("target", DIALECTS)
def test_every_model_and_test_compiles_for_each_warehouse(compiled: dict[str, dict[str, str]], target: str) -> None:
    assert {"dim_customers", "fct_orders", "stg_lake__orders", "unique_fct_orders_order_id"} <= set(compiled[target])
    assert set(compiled[target]) == set(compiled["warehouse"])
    for name, sql in compiled[target].items():
        (statement,) = sqlglot.parse(sql, dialect=DIALECTS[target])
        assert isinstance(statement, exp.Query), name


def test_compiled_sql_has_nothing_unknown_to_redshift(compiled: dict[str, dict[str, str]]) -> None:
    found = {name: unknown_to_redshift(sql) for name, sql in compiled["redshift"].items()}
    assert {name: said for name, said in found.items() if said} == {}
    # And it would be told.
    assert "distinct on" in unknown_to_redshift(compiled["warehouse"]["fct_orders"])


def test_both_warehouses_get_the_same_columns(compiled: dict[str, dict[str, str]]) -> None:
    for name, sql in compiled["redshift"].items():
        theirs, ours = (
            sqlglot.parse_one(text, dialect=DIALECTS[target]).named_selects
            for target, text in (("redshift", sql), ("warehouse", compiled["warehouse"][name]))
        )
        assert theirs == ours, name


def test_postgres_keeps_its_faster_syntax(compiled: dict[str, dict[str, str]]) -> None:
    ours = compiled["warehouse"]
    assert "distinct on (order_id) order_id, method" in ours["fct_orders"]
    assert re.search(r"bit_or\(", ours["unique_combination_fct_order_lines_order_id__line_number"])


@pytest.mark.parametrize(("dimension", "key"), [("customers", "customer_id"), ("products", "product_id")])
def test_choice_of_version_depends_on_every_shown_column(
    compiled: dict[str, dict[str, str]], dimension: str, key: str
) -> None:
    parsed = models.manifest()
    versions, shown = (
        models.columns_of(parsed, f"model.orders_lakehouse.{name}_{dimension}") for name in ("stg_lake_", "dim")
    )
    attributes = {name for name in shown if name in versions} - {key}
    assert len(attributes) > 5
    for sql in compiled.values():
        (ordered,) = re.findall(r"captured_at desc, ([a-z_, ]*[a-z])", sql[f"dim_{dimension}"])
        assert {part.removesuffix(" desc") for part in ordered.split(", ")} >= attributes


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select count(*) filter (where a) from t", ["filter ("]),
        ("select sum(a) over w from t window w as (partition by b)", ["window"]),
        ("select made_up(a) from t", ["made_up()"]),
        ("select a from t /* generate_series */ -- lateral", []),
    ],
)
def test_unknown_redshift_syntax_is_reported(sql: str, said: list[str]) -> None:
    assert unknown_to_redshift(sql) == said
