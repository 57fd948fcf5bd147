"""Seams to private parts of libraries that nothing else here would find torn: `runtime/README.md` names them all."""

import inspect
import re
import sys
from functools import cached_property
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource

from orders_lakehouse.defs.assets.marts import marts
from orders_lakehouse.runtime.dagster_dbt_light import DbtCli
from orders_lakehouse.runtime.metadata_by_date import add_metadata_by_date
from orders_lakehouse.runtime.pools import free_slots, set_slots
from orders_lakehouse.settings import PROJECT

README = PROJECT / "orders_lakehouse" / "runtime" / "README.md"
DAYS = dg.DailyPartitionsDefinition("2017-01-01", end_date="2017-01-06")
BY_DATE = {key: {"rows": number, "weight": 2 * number} for number, key in enumerate(DAYS.get_partition_keys())}


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def stones(context: dg.AssetExecutionContext) -> None:
    context.add_asset_metadata({"rows": -1, "colour": "grey"}, partition_key="2017-01-02")
    if "at once" in context.run.tags:
        add_metadata_by_date(context, BY_DATE)
    else:
        for key, told in BY_DATE.items():
            context.add_asset_metadata(told, partition_key=key)
    context.add_asset_metadata({"last": True}, partition_key="2017-01-05")
    context.add_asset_metadata({"of": "all"})


def _materialized(**more: str) -> dict[str | None, Any]:
    tags = {"dagster/asset_partition_range_start": "2017-01-01", "dagster/asset_partition_range_end": "2017-01-05"}
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize([stones], instance=instance, tags={**tags, **more})
        return {made.partition: dict(made.metadata) for made in done.asset_materializations_for_node("stones")}


def test_metadata_of_many_dates_equals_adding_one_by_one() -> None:
    together = _materialized(**{"at once": "yes"})
    assert together == _materialized()
    assert together["2017-01-02"]["rows"].value == 1
    assert together["2017-01-02"]["colour"].value == "grey"
    assert together["2017-01-05"]["last"].value is True


def test_pool_keeps_configured_slots_and_dead_run_frees_its_own(tmp_path: Path) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots("roomy", 3)
        set_slots(instance, {"dbt": 1, "roomy": 1})
        slots = {pool: storage.get_concurrency_info(pool).slot_count for pool in ("dbt", "roomy")}
        assert slots == {"dbt": 1, "roomy": 3}
        assert storage.claim_concurrency_slot("dbt", "dead", "facts").is_claimed
        assert not storage.claim_concurrency_slot("dbt", "alive", "facts").is_claimed
        free_slots(instance, "dead")
        assert storage.claim_concurrency_slot("dbt", "alive", "facts").is_claimed


def test_skipped_steps_of_dbt_are_those_dagster_dbt_takes() -> None:
    asked = inspect.unwrap(DbtCliResource.cli).__code__.co_names
    assert {"_cli_version", "_initialize_dbt_core_adapter"} <= set(asked)
    assert isinstance(vars(DbtCliResource)["_cli_version"], cached_property)
    ours = DbtCli(project_dir=str(PROJECT / "dbt_project"), dbt_executable=sys.executable)
    assert str(ours._cli_version) == metadata.version("dbt-core")
    assert ours._initialize_dbt_core_adapter([]) is None


def test_pandera_importers_lie_below_a_pandera_light_package() -> None:
    importing = [path for path in README.parents[1].rglob("*.py") if "\nimport pandera" in path.read_text()]
    assert importing
    assert [path for path in importing if "\nimport_pandera()\n" not in (path.parent / "__init__.py").read_text()] == []


def test_folder_of_a_build_names_its_run() -> None:
    run_id = "5cf4c3a1-7c2b-4f0e-8f9f-0a8c4f0f2f11"
    step = SimpleNamespace(run=SimpleNamespace(run_id=run_id), op_execution_context=SimpleNamespace(op=marts.op))
    ours = DbtCli(project_dir=str(PROJECT / "dbt_project"), dbt_executable=sys.executable)
    # As `leftover_files` takes it apart.
    assert run_id[:7] in ours._get_unique_target_path(context=step).name.split("-")


def _rows() -> list[tuple[str, list[str]]]:
    """Cells of the table of pieces, with the module that each row is about."""
    table, _, _ = README.read_text().partition("\n## ")
    rows = [line.strip(" |").split(" | ") for line in table.splitlines() if line.startswith("| `")]
    return [(cells[0].split("`")[1], cells) for cells in rows]


def test_every_module_has_its_row() -> None:
    assert {module for module, _ in _rows()} == {path.name for path in README.parent.glob("[!_]*.py")}
    assert {len(cells) for _, cells in _rows()} == {7}


def test_named_tests_exist() -> None:
    for _, cells in _rows():
        tests = re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", cells[5])
        assert tests, cells[0]
        for file, name in tests:
            found = [path.read_text() for path in (PROJECT / "tests").rglob(file)]
            assert any(f"def {name}(" in text if name else text for text in found), (file, name)


def test_named_versions_are_the_pinned_ones() -> None:
    named = {tuple(pin.split("==")) for _, cells in _rows() for pin in re.findall(r"`(\S+==\S+)`", cells[3])}
    assert named
    assert {(name, metadata.version(name)) for name, _ in named} == named
    pinned = (PROJECT / "requirements-dev.txt").read_text()
    assert [pin for name, version in named if (pin := f"{name}=={version} ") not in pinned] == []
