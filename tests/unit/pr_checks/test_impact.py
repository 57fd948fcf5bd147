"""Which layers and models a change reaches."""

from typing import Any

import pytest

from pr_checks.impact import LAYERS, changed_models, from_first, reached_layers


@pytest.mark.parametrize(
    ("file", "made"),
    [
        ("docs/operating.md", ()),
        ("tests/unit/test_dates.py", ()),
        ("orders_lakehouse/cli/status.py", ()),
        ("orders_lakehouse/sample_shop/simulate.py", ()),
        ("dbt_project/models/marts/dim_date.sql", ("marts",)),
        ("orders_lakehouse/warehouse/load.py", ("marts",)),
        ("orders_lakehouse/curated/order_lines.py", ("curated", "marts")),
        ("orders_lakehouse/transforms/money.py", LAYERS),
        ("waivers.toml", ("cleansed", "curated", "marts")),
        ("orders_lakehouse/sources/postgres/versions.py", LAYERS),
        ("orders_lakehouse/entities/orders.py", LAYERS),
        ("orders_lakehouse/contracts/cleansed.py", LAYERS),
        ("orders_lakehouse/dagster.yaml", LAYERS),
        ("requirements.txt", LAYERS),
    ],
)
def test_importers_of_a_file_and_later_tables_are_rebuilt(file: str, made: tuple[str, ...]) -> None:
    assert from_first(reached_layers([file])) == made


def manifest(**sql: str) -> dict[str, Any]:
    models = {f"model.orders_lakehouse.{name}": text for name, text in sql.items()}
    return {
        "nodes": {
            name: {
                "resource_type": "model",
                "checksum": {"checksum": text},
                "columns": {},
                "config": {"materialized": "table"},
                "unrendered_config": {},
            }
            for name, text in models.items()
        },
        "macros": {},
        "child_map": {
            "model.orders_lakehouse.stg": ["model.orders_lakehouse.dim", "test.orders_lakehouse.unique"],
            "model.orders_lakehouse.dim": ["model.orders_lakehouse.fct"],
            "model.orders_lakehouse.fct": [],
        },
    }


def test_models_that_differ_are_named_with_those_that_follow() -> None:
    before = manifest(stg="select 1", dim="select 1", fct="select 1")
    assert changed_models(before, before) == ([], [])
    assert changed_models(before, manifest(stg="select 2", dim="select 1", fct="select 1")) == (["stg"], ["dim", "fct"])
    assert changed_models(before, manifest(stg="select 1", dim="select 1", fct="select 2")) == (["fct"], [])


def test_another_macro_makes_every_model_another() -> None:
    before, after = manifest(stg="select 1"), manifest(stg="select 1")
    after["macros"] = {"macro.m": {"macro_sql": "1", "package_name": "orders_lakehouse"}}
    assert changed_models(before, after)[0] == ["stg"]
