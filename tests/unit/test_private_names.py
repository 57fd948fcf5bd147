"""Private parts of libraries are used in `runtime/` alone, and what else is used without a promise is listed here."""

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module

import dagster as dg
import pytest
from dagster._annotations import is_public

from orders_lakehouse.settings import PROJECT

PACKAGE = PROJECT / "orders_lakehouse"
MODULES = {
    ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
OUTSIDE = {name: path for name, path in MODULES.items() if not name.startswith("orders_lakehouse.runtime.")}
# Storages of an instance: their methods are Dagster's own affair.
STORAGES = {"event_log_storage", "run_storage", "schedule_storage", "compute_log_manager"}
# What `dg.DagsterInstance` has without an underscore, and the reference of its API leaves out.
UNLISTED = {
    "add_event_listener": "how far a run is that is executed in this process",
    "add_run_tags": "the process that executes a run",
    "all_asset_keys": "assets that a reset makes Dagster forget",
    "all_instigator_state": "sensors and schedules: their cursors, and whether they are on",
    "all_logs": "what a run did and what it failed by",
    "get_daemon_heartbeats": "whether a daemon lives",
    "get_required_daemon_types": "whether all daemons that are needed live",
    "get_run_ids": "runs that keep everything",
    "get_runs": "runs that are at work, or were killed",
    "report_engine_event": "what else a run has to say",
    "report_run_canceled": "a run whose process is gone",
    "report_run_failed": "a run whose process is gone",
}


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def _private_imports(tree: ast.Module) -> Iterator[str]:
    """Modules and names with an underscore that a module imports, from others or from the package itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("import_module", "importlib.import_module"):
            names = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
        else:
            continue
        yield from (name for name in names if any(map(_is_private, name.split("."))))


def _private_attributes(tree: ast.Module) -> Iterator[str]:
    """Attributes with an underscore of anything but the object at hand. A named tuple's `_replace` is documented."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr) and node.attr not in ("_replace", "_asdict"):
            owner = ast.unparse(node.value)
            if owner not in ("self", "cls", "super()"):
                yield node.attr


def _patches(tree: ast.Module) -> Iterator[str]:
    """What a module sets in another one, and what it changes of how modules are found."""
    modules = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        owner = ast.unparse(node.value)
        if isinstance(node.ctx, ast.Store) and owner.partition(".")[0] in modules:
            yield f"{owner}.{node.attr}"
        elif owner == "sys" and node.attr in ("modules", "meta_path"):
            yield f"sys.{node.attr}"


def _storages(tree: ast.Module) -> Iterator[str]:
    yield from (node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in STORAGES)


@pytest.mark.parametrize("uses", [_private_imports, _private_attributes, _patches, _storages])
def test_private_parts_of_libraries_are_used_in_their_room_alone(uses: object) -> None:
    found = {(name, use) for name, path in OUTSIDE.items() for use in uses(ast.parse(path.read_text()))}  # type: ignore[operator]
    assert found == set()


# Python makes these for each class, or for each protocol.
_BY_PYTHON = {"_abc_impl", "_is_protocol", "_is_runtime_protocol"}


def _overridden(module: str) -> Iterator[str]:
    """Names with an underscore that a class takes from a library's class and makes anew."""
    for cls in vars(import_module(module)).values():
        if not inspect.isclass(cls) or cls.__module__ != module:
            continue
        foreign = [base for base in cls.__mro__ if base.__module__.partition(".")[0] not in ("orders_lakehouse", "abc")]
        own = [name for name in vars(cls) if _is_private(name) and not name.endswith("_") and name not in _BY_PYTHON]
        yield from (f"{cls.__name__}.{name}" for name in own if any(name in vars(base) for base in foreign))


def test_no_class_makes_a_private_method_of_a_library_anew() -> None:
    with_classes = [name for name, path in OUTSIDE.items() if "\nclass " in path.read_text()]
    assert [found for name in with_classes for found in _overridden(name)] == []
    assert "DbtCli._cli_version" in list(_overridden("orders_lakehouse.runtime.dagster_dbt_light"))


def _of_instance(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).rpartition(".")[2] == "instance":
            yield node.attr


def test_unlisted_methods_of_the_instance_exist_and_are_listed() -> None:
    used = {use for path in OUTSIDE.values() for use in _of_instance(ast.parse(path.read_text()))}
    listed = {name for name in used if is_public(inspect.getattr_static(dg.DagsterInstance, name))}
    assert used - listed == set(UNLISTED)
