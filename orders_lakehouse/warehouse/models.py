"""dbt's models as plain data, from the parsed manifest: columns, tests, and the origins of columns.

Nodes are identified by dbt's unique id. A column's origin is the upstream column of the same name. If there is none, or
several models upstream have one, the yml names it: `meta: {from: [model.column, ...]}`. `[]` means that the model
itself makes the column.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.settings import DBT_PROJECT
from orders_lakehouse.warehouse.copies import COPIES

Manifest = Mapping[str, Any]
Node = Mapping[str, Any]

# Statuses in dbt's results of nodes that failed.
_FAILED = ("error", "fail", "runtime error")
# Value of a test's `where` that stands for the dates that a run replaces.
_RUN_DATES = "__run_dates__"
# Descriptions of tests, by kind: tests of a column, and tests of a whole model.
_OF_COLUMN: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "not_null": lambda _: "present",
    "unique": lambda _: "in no two rows",
    "accepted_values": lambda a: f"one of {', '.join(map(str, a['values']))}",
    "relationships": lambda a: f"one of `{_referred(a['to'])}.{a['field']}`",
    "relationships_by_date": lambda a: f"one of `{_referred(a['to'])}.{a['field']}`",
}
_REFERENCES = ("relationships", "relationships_by_date")
_OF_MODEL: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "unique_combination": lambda a: f"{', '.join(f'`{column}`' for column in a['columns'])} together, in no two rows",
    "holds": lambda a: f"`{a['expression']}`",
    "total_price_of_line": lambda _: (
        "`total_price = quantity * unit_price - discount`, rounded to the minor unit of `currency`"
    ),
    "same_rows_by_date": lambda a: f"as many rows on each date as `{_referred(a['staging'])}` has",
}


class ManifestError(ExpectedError):
    """dbt has not parsed its project yet."""


@cache
def manifest() -> Manifest:
    """Return the manifest that `dbt parse` has written; `make` keeps it up to date.

    Raises:
        ManifestError: The file does not exist.
    """
    path = DBT_PROJECT / "target" / "manifest.json"
    try:
        parsed: Manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise ManifestError(
            f"found no {path.relative_to(DBT_PROJECT.parent)}; expected the manifest of `dbt parse`: run `make install`"
        ) from None
    return parsed


def node_of(parsed: Manifest, node_id: str) -> Node:
    """Return a model or source."""
    node: Node = (parsed["sources"] if node_id.startswith("source.") else parsed["nodes"])[node_id]
    return node


def models(parsed: Manifest, layer: str) -> list[str]:
    """Return the ids of the models of a layer, in order."""
    return sorted(
        node_id
        for node_id, node in parsed["nodes"].items()
        if node["resource_type"] == "model" and layer_of(node) == layer
    )


def layer_of(node: Node) -> str:
    """Return the layer of a model, staging or marts, which its schema in the warehouse need not be named after."""
    return str(node["fqn"][1])


def is_by_date(node: Node) -> bool:
    """Return whether a run replaces dates of a model, which is so for facts."""
    return "partitioned" in node["tags"]


def document(parsed: Manifest, node_id: str) -> dict[str, Any]:
    """Describe a model or source, as `contracts.document` describes a lake table.

    Args:
        parsed: The manifest.
        node_id: The node.

    Returns:
        - description
        - keys: lists of columns that identify a row
        - primary_key: columns that the warehouse itself keeps unique; empty without such a key
        - indexes: lists of columns of further indexes
        - references: the `model.column` that holds all values of a column, by column
        - by_date: whether a run replaces dates
        - columns: type in Postgres, nullable, description, unit and personal, by name
    """
    node = node_of(parsed, node_id)
    required = {column for column, name, _ in _tests(parsed, node_id) if name == "not_null"}
    columns = {
        name: {
            "type": column["data_type"],
            "nullable": name not in required and not _constrained(column, "not_null"),
            "description": column["description"],
            "unit": column["meta"].get("unit"),
            "personal": "pii" in column["tags"],
        }
        for name, column in node["columns"].items()
    }
    keys = [
        test["test_metadata"]["kwargs"].get("columns", [column])
        for column, name, test in _tests(parsed, node_id)
        if name in ("unique", "unique_combination") and test["config"]["where"] in (None, _RUN_DATES)
    ]
    primary_key = [name for name, column in node["columns"].items() if _constrained(column, "primary_key")]
    if primary_key and primary_key not in keys:
        keys.append(primary_key)
    return {
        "description": " ".join(node["description"].split()),
        "keys": sorted(keys, key=lambda key: (len(key), list(columns).index(key[0]))),
        "primary_key": primary_key,
        "indexes": [list(index["columns"]) for index in node["config"].get("indexes") or ()],
        "references": {
            column: f"{_referred(test['test_metadata']['kwargs']['to'])}.{test['test_metadata']['kwargs']['field']}"
            for column, name, test in _tests(parsed, node_id)
            if name in _REFERENCES and column
        },
        "by_date": is_by_date(node),
        "columns": columns,
    }


def demands(parsed: Manifest, node_id: str) -> dict[str | None, dict[str, str]]:
    """Describe what the tests of a model demand of its rows.

    Args:
        parsed: The manifest.
        node_id: The model.

    Returns:
        Descriptions ("one of card, cash") by test, by column; tests of the model as a whole are under None.

    Raises:
        NotImplementedError: This module has no description for a test.
    """
    by_column: dict[str | None, dict[str, str]] = {}
    for column, name, test in _tests(parsed, node_id):
        of_column = by_column.setdefault(column, {})
        demand = demand_of(test)
        of_column[name] = f"{earlier}; {demand}" if (earlier := of_column.get(name)) else demand
    return by_column


def demand_of(test: Node) -> str:
    """Describe what a test demands: of the values of its column, or of the rows of its model.

    Raises:
        NotImplementedError: This module has no description for the test.
    """
    name, arguments = test["test_metadata"]["name"], test["test_metadata"]["kwargs"]
    try:
        words = (_OF_COLUMN if test["column_name"] else _OF_MODEL)[name]
    except KeyError:
        model = test["attached_node"].rpartition(".")[2]
        raise NotImplementedError(f"the test {name!r} of {model} has no description; add one in {__name__}") from None
    given = test["config"]["where"]
    where = "" if given is None else " (on the dates of a run)" if given == _RUN_DATES else f" (where `{given}`)"
    return words(arguments) + where


def origins(parsed: Manifest, node_id: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return the origins of each column of a model.

    Args:
        parsed: The manifest.
        node_id: The model.

    Returns:
        Pairs of an upstream node and its column, by column; none for columns that the model makes itself.

    Raises:
        ValueError: A column's `from` names an unknown column, or is missing although it is needed.
    """
    node = node_of(parsed, node_id)
    upstream = {node_of(parsed, id_)["name"]: id_ for id_ in node["depends_on"]["nodes"]}
    available = {
        f"{name}.{column}": (id_, column) for name, id_ in upstream.items() for column in columns_of(parsed, id_)
    }
    by_column = {}
    for column, described in node["columns"].items():
        same_name = [name for name, (_, upstream_column) in available.items() if upstream_column == column]
        named = described["meta"].get("from", same_name)
        unknown = [name for name in named if name not in available]
        if unknown or ("from" not in described["meta"] and len(named) != 1):
            raise ValueError(
                f"{node['name']}.{column}: found {', '.join(unknown or named) or 'no column of that name'} upstream; "
                f"expected `from` in its meta, with columns of {', '.join(upstream) or 'nothing'}"
            )
        by_column[column] = tuple(available[name] for name in named)
    return by_column


def mart(parsed: Manifest, name: str) -> Node:
    """Return a mart by its name."""
    (node_id,) = (node_id for node_id in models(parsed, "marts") if node_of(parsed, node_id)["name"] == name)
    return node_of(parsed, node_id)


def sources_of(parsed: Manifest, node_id: str) -> set[str]:
    """Return the names of the sources that a model reads, itself or by its staging views."""
    read = [node_id, *_views_of(parsed, node_id)]
    upstream = {source for each in read for source in node_of(parsed, each)["depends_on"]["nodes"]}
    return {node_of(parsed, source)["name"] for source in upstream if source.startswith("source.")}


def views_of(parsed: Manifest, node_id: str) -> set[str]:
    """Return the names of the staging views that a model reads."""
    return {node_of(parsed, view)["name"] for view in _views_of(parsed, node_id)}


def _views_of(parsed: Manifest, node_id: str) -> list[str]:
    upstream = [id_ for id_ in node_of(parsed, node_id)["depends_on"]["nodes"] if id_.startswith("model.")]
    return [id_ for id_ in upstream if layer_of(node_of(parsed, id_)) == "staging"]


def columns_of(parsed: Manifest, node_id: str) -> list[str]:
    """Return the column names of a model, of a copy of a lake table, or of another source."""
    node = node_of(parsed, node_id)
    copied = {copy.name: list(copy.types) for copy in COPIES} if node["resource_type"] == "source" else {}
    return copied.get(node["name"]) or list(node["columns"])


def failed_models(parsed: Manifest, results: Mapping[str, Any]) -> list[str]:
    """Return the models that a build could not make, or that failed a test; not those that were only skipped.

    Args:
        parsed: The manifest.
        results: dbt's results of the build, `run_results.json`.

    Returns:
        Names, in order.
    """
    failed = {result["unique_id"] for result in results["results"] if result["status"] in _FAILED}
    return sorted(
        {node_of(parsed, node_of(parsed, node_id).get("attached_node") or node_id)["name"] for node_id in failed}
    )


def skipped_models(parsed: Manifest, results: Mapping[str, Any]) -> list[str]:
    """Return the models that a build skipped because a model that they read had failed.

    Args:
        parsed: The manifest.
        results: dbt's results of the build, `run_results.json`.

    Returns:
        Names, in order.
    """
    skipped = [result["unique_id"] for result in results["results"] if result["status"] == "skipped"]
    return sorted(node_of(parsed, node_id)["name"] for node_id in skipped if node_id.startswith("model."))


def _constrained(column: Mapping[str, Any], kind: str) -> bool:
    return any(constraint["type"] == kind for constraint in column["constraints"])


def _tests(parsed: Manifest, node_id: str) -> Iterator[tuple[str | None, str, Node]]:
    """Yield column (None: the model), kind and node of each test, ordered by name."""
    attached = [node for node in parsed["nodes"].values() if node.get("attached_node") == node_id]
    for node in sorted(attached, key=lambda node: str(node["name"])):
        yield node["column_name"], node["test_metadata"]["name"], node


def _referred(reference: str) -> str:
    return re.sub(r"^ref\('(.+)'\)$", r"\1", reference)
