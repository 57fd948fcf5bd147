"""What a change reaches: layers by the imports of their modules, dbt models by the manifests of both sides."""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import grimp

PACKAGE = "orders_lakehouse"
# In the order of the flow. What a layer is made by begins in the module that declares it.
LAYERS = ("raw", "cleansed", "curated", "warehouse", "marts")
# Groups of assets, folders of the lake and schemas of the warehouse, where they are not called as their layer is.
_PLACES = {"cleansed": ("cleansed", "quarantine"), "marts": ("staging", "marts")}
# The shop is the same on both sides, whatever makes it.
_NOT_DATA = (f"{PACKAGE}/sample_shop/", f"{PACKAGE}/cli/")
_WAIVERS = "waivers.toml"
_EVERYTHING = ("requirements.txt", "requirements-dev.txt", "pyproject.toml")


def reached_layers(changed: Iterable[str]) -> dict[str, list[str]]:
    """Which layers are made otherwise because of some files.

    Args:
        changed: Files, relative to the repository.

    Returns:
        Layer to the files that reach it, in the order of the flow; what lies after a layer is not named with it.
    """
    graph = grimp.build_graph(PACKAGE)
    modules = {layer: f"{PACKAGE}.defs.assets.{layer}" for layer in LAYERS}
    closures = {layer: {module, *graph.find_upstream_modules(module)} for layer, module in modules.items()}
    reached: dict[str, list[str]] = {layer: [] for layer in LAYERS}
    for file in changed:
        for layer in _layers_of(file, closures):
            reached[layer].append(file)
    return {layer: files for layer, files in reached.items() if files}


def _layers_of(file: str, closures: Mapping[str, set[str]]) -> list[str]:
    if file in _EVERYTHING:
        return [LAYERS[0]]
    if file == _WAIVERS:
        return ["cleansed"]
    if file.startswith("dbt_project/"):
        return [LAYERS[-1]]
    if not file.startswith(f"{PACKAGE}/") or file.startswith(_NOT_DATA):
        return []
    if file.startswith(f"{PACKAGE}/curated/"):
        # The list of all tables imports it everywhere; nothing before it is made of it.
        return ["curated"]
    path = PurePosixPath(file)
    if path.suffix != ".py":
        # Read by a program rather than imported: by which, nobody says.
        return [LAYERS[0]]
    parts = path.with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return [layer for layer, closure in closures.items() if module in closure]


def from_first(reached: Iterable[str]) -> tuple[str, ...]:
    """The layers to make again: the first that is reached, and all that follow from it."""
    first = min((LAYERS.index(layer) for layer in reached), default=len(LAYERS))
    return LAYERS[first:]


def places(layers: Iterable[str]) -> tuple[str, ...]:
    """Where some layers stand: the first part of the paths of their tables."""
    return tuple(place for layer in layers for place in _PLACES.get(layer, (layer,)))


def changed_models(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Which dbt models differ, and which follow from them.

    Args:
        before: Manifest of the base.
        after: Manifest of the change.

    Returns:
        Names of the models that are new, gone or otherwise; and of all models downstream of them.
    """
    earlier, later = _models(before), _models(after)
    macros_differ = _macros(before) != _macros(after)
    different = {name for name in {**earlier, **later} if macros_differ or earlier.get(name) != later.get(name)}
    following: set[str] = set()
    waiting = list(different)
    while waiting:
        children = {name for name in after["child_map"].get(waiting.pop(), ()) if name.startswith("model.")}
        waiting.extend(children - following)
        following |= children
    return sorted(map(_short, different)), sorted(map(_short, following - different))


def _models(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """By id, what makes a model what it is: its SQL, its contract, how it is materialized."""
    return {
        name: (
            node["checksum"]["checksum"],
            {column: of["data_type"] for column, of in node["columns"].items()},
            node["config"]["materialized"],
            node["unrendered_config"],
        )
        for name, node in manifest["nodes"].items()
        if node["resource_type"] == "model"
    }


def _macros(manifest: Mapping[str, Any]) -> dict[str, str]:
    return {name: macro["macro_sql"] for name, macro in manifest["macros"].items() if macro["package_name"] == PACKAGE}


def _short(name: str) -> str:
    return name.rsplit(".", maxsplit=1)[-1]
