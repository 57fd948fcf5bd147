"""Find what a change reaches: layers by the imports of their modules, dbt models by the manifests of both sides."""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

import grimp

PACKAGE = "orders_lakehouse"
# Layers in the order of the flow. The modules of a layer are those that its assets module imports, directly or not.
LAYERS = ("raw", "cleansed", "curated", "marts")
# Lake folders of layers for which these names differ.
_PLACES = {"cleansed": ("cleansed", "quarantine")}
# Folders that do not reach the data. Both sides have the same shop, whatever its code is.
_NOT_DATA = (f"{PACKAGE}/sample_shop/", f"{PACKAGE}/cli/")
_WAIVERS = "waivers.toml"
_EVERYTHING = ("requirements.txt", "requirements-dev.txt", "pyproject.toml")


def reached_layers(changed: Iterable[str]) -> dict[str, list[str]]:
    """Return the layers that some files affect.

    Args:
        changed: Files, relative to the repository.

    Returns:
        Files that reach each layer, in the order of the flow; later layers are not included.
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
        # The list of all tables imports curated tables everywhere, but no earlier layer is made of them.
        return ["curated"]
    path = PurePosixPath(file)
    if path.suffix != ".py":
        # Other files are read rather than imported, so their readers are unknown.
        return [LAYERS[0]]
    parts = path.with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return [layer for layer, closure in closures.items() if module in closure]


def from_first(reached: Iterable[str]) -> tuple[str, ...]:
    """Return the layers to build again: the first one that is reached, and all later ones."""
    first = min((LAYERS.index(layer) for layer in reached), default=len(LAYERS))
    return LAYERS[first:]


def places(layers: Iterable[str]) -> tuple[str, ...]:
    """Return the first path parts of the tables of some layers."""
    return tuple(place for layer in layers for place in _PLACES.get(layer, (layer,)))


def changed_models(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Return the dbt models that differ, and those that depend on them.

    Args:
        before: Manifest of the base.
        after: Manifest of the change.

    Returns:
        Names of the models that are new, gone or different; and of all models downstream of these.
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
    """Return what defines a model, by id: its SQL, its contract, its materialization."""
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
