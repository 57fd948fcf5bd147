"""Use dagster-dbt without importing dbt, which takes longer than all other imports of the definitions.

Another process builds with dbt. In this one, dagster-dbt needs dbt only for names of types and to find the models of a
tag. It has its own names for the case that dbt is not installed, and `selected` finds the models. Other features that
need dbt do not work, such as its own connection to the warehouse or `build_dbt_asset_selection`.
"""

import re
from collections.abc import Mapping, Sequence, Set
from functools import cached_property
from importlib import metadata
from typing import Any

from dagster_shared.libraries import DagsterLibraryRegistry
from packaging.version import Version

from orders_lakehouse.runtime.blocked_imports import without

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
    "DbtCli",
    "DbtCliInvocation",
    "DbtProject",
    "dbt_assets",
    "selected",
]


class DbtCli(DbtCliResource):
    """dagster-dbt's resource, which starts dbt once for each build and makes no connection of its own."""

    @cached_property
    def _cli_version(self) -> Version:
        # The parent runs its executable with `--version` before each invocation, which takes as long as a small build.
        # Here the executable is Python, so the answer would be Python's version. If the parent stops asking, this
        # property is simply unused.
        return Version(metadata.version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> Any:  # noqa: ARG002 (the parent passes it)
        # The parent makes a second connection for metadata that it can fetch on request. Nobody requests it, and the
        # connection takes as long as a small build.
        return None


def selected(select: str, exclude: str, selector: str, project: Any, manifest_json: Mapping[str, Any]) -> Set[str]:  # noqa: ARG001 (dagster-dbt passes it)
    """Return the models with a tag and the tests of these models, or all others.

    Args:
        select: `tag:` and a tag; or `fqn:*` for everything.
        exclude: Empty, or `tag:` and a tag.
        selector: Empty.
        project: Unused.
        manifest_json: The manifest of dbt.

    Returns:
        Ids of models and tests.

    Raises:
        ValueError: The selection has another form.
    """
    if selector:
        raise ValueError(f"dbt's selector {selector!r} is not supported here; expected select and exclude")
    nodes = manifest_json["nodes"]
    chosen = set(nodes) if select == "fqn:*" else _tagged(nodes, select)
    return chosen - _tagged(nodes, exclude) if exclude else chosen


def _tagged(nodes: Mapping[str, Any], criterion: str) -> Set[str]:
    match = re.fullmatch(r"tag:(\w+)", criterion)
    if match is None:
        raise ValueError(f"dbt's criterion {criterion!r} is not supported here; expected tag: and one tag")
    models = {name for name, node in nodes.items() if node["resource_type"] == "model" and match[1] in node["tags"]}
    tests = {
        name
        for name, node in nodes.items()
        if node["resource_type"] == "test" and models & {*node["depends_on"]["nodes"]}
    }
    return models | tests


# dagster-dbt calls this function to ask dbt. The version is registered because dagster-dbt cannot see it.
asset_utils.select_unique_ids = selected  # type: ignore[attr-defined]
DagsterLibraryRegistry.register("dbt-core", metadata.version("dbt-core"), is_dagster_package=False)
