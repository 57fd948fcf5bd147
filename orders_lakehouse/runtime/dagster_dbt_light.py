"""dagster-dbt made to do without dbt, whose import takes longer than everything else that the definitions need.

What builds is a process that has dbt. Here, dagster-dbt wants it for the names of its types, and to find the models
that a tag selects. It has names of its own for where dbt is not installed; what a tag selects is said below. What else
it would ask dbt, such as its own connection to the warehouse or `build_dbt_asset_selection`, is not to be had.
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
    """dagster-dbt's resource, which starts dbt once for a build and connects to no warehouse by itself."""

    @cached_property
    def _cli_version(self) -> Version:
        # The parent asks its executable for `--version` before each invocation. That takes as long as a small build,
        # and here the executable is Python, whose version it would take for dbt's. If the parent stops asking, this is
        # not called any more, and nothing else changes.
        return Version(metadata.version("dbt-core"))

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> Any:  # noqa: ARG002 (the parent passes it)
        # The parent makes a connection of its own beside dbt's, for metadata that it would fetch on request; nobody
        # asks for any, and to make it takes as long as a small build.
        return None


def selected(select: str, exclude: str, selector: str, project: Any, manifest_json: Mapping[str, Any]) -> Set[str]:  # noqa: ARG001 (dagster-dbt passes it)
    """The models with a tag and the tests that look at one of them, or all others.

    Args:
        select: `tag:` and a tag; or `fqn:*`, everything.
        exclude: Nothing, or `tag:` and a tag.
        selector: Nothing.
        project: Not looked at.
        manifest_json: What dbt parsed.

    Returns:
        Ids of models and tests.

    Raises:
        ValueError: Something else is asked for.
    """
    if selector:
        raise ValueError(f"dbt's selector {selector!r} is not known here; expected select and exclude")
    nodes = manifest_json["nodes"]
    chosen = set(nodes) if select == "fqn:*" else _tagged(nodes, select)
    return chosen - _tagged(nodes, exclude) if exclude else chosen


def _tagged(nodes: Mapping[str, Any], criterion: str) -> Set[str]:
    found = re.fullmatch(r"tag:(\w+)", criterion)
    if found is None:
        raise ValueError(f"dbt's criterion {criterion!r} is not known here; expected tag: and one tag")
    models = {name for name, node in nodes.items() if node["resource_type"] == "model" and found[1] in node["tags"]}
    tests = {
        name
        for name, node in nodes.items()
        if node["resource_type"] == "test" and models & {*node["depends_on"]["nodes"]}
    }
    return models | tests


# Where dagster-dbt asks dbt; and what it says of dbt's version, which it does not see.
asset_utils.select_unique_ids = selected  # type: ignore[attr-defined]
DagsterLibraryRegistry.register("dbt-core", metadata.version("dbt-core"), is_dagster_package=False)
