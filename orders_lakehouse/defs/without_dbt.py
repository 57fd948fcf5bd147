"""dagster-dbt without dbt, whose import takes longer than everything else that the definitions need.

What builds is a process that has dbt. Here, dagster-dbt wants it for the names of its types, and to find the models
that a tag selects. It has names of its own for where dbt is not installed; what a tag selects is said below.
"""

from collections.abc import Mapping, Set
from typing import Any

from orders_lakehouse.imports import without

with without("dbt.version"):
    from dagster_dbt import (
        DagsterDbtTranslator,
        DagsterDbtTranslatorSettings,
        DbtCliInvocation,
        DbtCliResource,
        DbtProject,
        asset_utils,
        dbt_assets,
    )

__all__ = [
    "DagsterDbtTranslator",
    "DagsterDbtTranslatorSettings",
    "DbtCliInvocation",
    "DbtCliResource",
    "DbtProject",
    "dbt_assets",
    "selected",
]


def selected(select: str, exclude: str, manifest_json: Mapping[str, Any], **_: Any) -> Set[str]:
    """The models with a tag and the tests that look at one of them, or all others.

    Args:
        select: `tag:` and a tag; or `fqn:*`, everything.
        exclude: Nothing, or `tag:` and a tag.
        manifest_json: What dbt parsed.

    Returns:
        Ids of models and tests.
    """
    nodes = manifest_json["nodes"]
    chosen = set(nodes) if select == "fqn:*" else _tagged(nodes, select)
    return chosen - _tagged(nodes, exclude) if exclude else chosen


def _tagged(nodes: Mapping[str, Any], criterion: str) -> Set[str]:
    method, _, tag = criterion.partition(":")
    if method != "tag":
        raise ValueError(f"dbt's criterion {criterion!r} is not known here; expected tag:...")
    models = {name for name, node in nodes.items() if node["resource_type"] == "model" and tag in node["tags"]}
    tests = {
        name
        for name, node in nodes.items()
        if node["resource_type"] == "test" and models & {*node["depends_on"]["nodes"]}
    }
    return models | tests


# Where dagster-dbt asks dbt.
asset_utils.select_unique_ids = selected  # type: ignore[attr-defined,assignment]
