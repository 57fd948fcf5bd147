"""dbt's models as plain data, from the parsed manifest: what each holds and demands, what its columns are made of.

A node is called by dbt's unique id. A column that keeps its name on the way says nothing; for the others, and where
several models upstream have the name, the yml says `meta: {from: [model.column, ...]}`. `[]` is a column made here.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.settings import DBT_PROJECT
from orders_lakehouse.tables import DIMENSIONS, dimension_of
from orders_lakehouse.warehouse.copies import COPIES

Manifest = Mapping[str, Any]
Node = Mapping[str, Any]

# How dbt calls what failed, and what it left out because of that.
_FAILED = ("error", "fail", "runtime error", "skipped")
# Where this stands in a test's `where`, a fact is tested on the dates that a run replaces.
_RUN_DATES = "__run_dates__"
# What the tests demand: of a column, and of a model as a whole.
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
    """Return what `dbt parse` made of the project; `make` keeps it fresh.

    Raises:
        ManifestError: It is not there.
    """
    path = DBT_PROJECT / "target" / "manifest.json"
    try:
        parsed: Manifest = json.loads(path.read_text())
    except FileNotFoundError:
        raise ManifestError(
            f"found no {path.relative_to(DBT_PROJECT.parent)}; expected what dbt has parsed of the project: run `make "
            "install`"
        ) from None
    return parsed


def node_of(parsed: Manifest, node_id: str) -> Node:
    """A model or source."""
    found: Node = (parsed["sources"] if node_id.startswith("source.") else parsed["nodes"])[node_id]
    return found


def models(parsed: Manifest, layer: str) -> list[str]:
    """The models of a layer, by name."""
    return sorted(
        node_id
        for node_id, node in parsed["nodes"].items()
        if node["resource_type"] == "model" and layer_of(node) == layer
    )


def layer_of(node: Node) -> str:
    """The layer of a model, staging or marts, whatever its schema is called in the warehouse."""
    return str(node["fqn"][1])


def is_by_date(node: Node) -> bool:
    """Whether a run replaces dates of a model: facts."""
    return "partitioned" in node["tags"]


def document(parsed: Manifest, node_id: str) -> dict[str, Any]:
    """A model or source, as `contracts.document` tells of a lake table.

    Args:
        parsed: The manifest.
        node_id: The node.

    Returns:
        description, keys (each a list of columns that identify a row), primary_key (columns that the warehouse itself
        keeps unique; empty without such a key), indexes (beside it, each a list of columns), references (column to the
        `model.column` that it is one of), by_date (whether a run replaces dates), columns (by name: type as Postgres
        calls it, nullable, description, unit, personal).
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
    """What the tests of a model demand of its rows.

    Args:
        parsed: The manifest.
        node_id: The model.

    Returns:
        By column, test to demand ("one of card, cash"); what is demanded of the rows as a whole stands under None.

    Raises:
        NotImplementedError: A test that has no words here.
    """
    found: dict[str | None, dict[str, str]] = {}
    for column, name, test in _tests(parsed, node_id):
        try:
            words = (_OF_COLUMN if column else _OF_MODEL)[name]
        except KeyError:
            raise NotImplementedError(
                f"the test {name!r} of {node_of(parsed, node_id)['name']} has no words; add them in {__name__}"
            ) from None
        given = test["config"]["where"]
        where = "" if given is None else " (on the dates of a run)" if given == _RUN_DATES else f" (where `{given}`)"
        of_column = found.setdefault(column, {})
        demand = words(test["test_metadata"]["kwargs"]) + where
        of_column[name] = f"{said}; {demand}" if (said := of_column.get(name)) else demand
    return found


def origins(parsed: Manifest, node_id: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """What each column of a model is made of.

    Args:
        parsed: The manifest.
        node_id: The model.

    Returns:
        Column to nodes upstream and their columns; none for what is made here.

    Raises:
        ValueError: A column's `from` names what is not upstream, or is needed and missing.
    """
    node = node_of(parsed, node_id)
    upstream = {node_of(parsed, one)["name"]: one for one in node["depends_on"]["nodes"]}
    there = {f"{name}.{column}": (one, column) for name, one in upstream.items() for column in columns_of(parsed, one)}
    found = {}
    for column, described in node["columns"].items():
        same_name = [name for name, (_, other) in there.items() if other == column]
        named = described["meta"].get("from", same_name)
        unknown = [name for name in named if name not in there]
        if unknown or ("from" not in described["meta"] and len(named) != 1):
            raise ValueError(
                f"{node['name']}.{column}: found {', '.join(unknown or named) or 'no column of that name'} upstream; "
                f"expected `from` in its meta, with columns of {', '.join(upstream) or 'nothing'}"
            )
        found[column] = tuple(there[name] for name in named)
    return found


def sources_of(parsed: Manifest, node_id: str) -> set[str]:
    """Names of the sources that a model is made of, over all models upstream."""
    upstream = node_of(parsed, node_id)["depends_on"]["nodes"]
    names = {node_of(parsed, one)["name"] for one in upstream if one.startswith("source.")}
    return names.union(*(sources_of(parsed, one) for one in upstream if one.startswith("model.")))


def columns_of(parsed: Manifest, node_id: str) -> list[str]:
    """Column names of a model, of a copy of a lake table, or of another source."""
    node = node_of(parsed, node_id)
    copied = {copy.name: list(copy.types) for copy in COPIES} if node["resource_type"] == "source" else {}
    return copied.get(node["name"]) or list(node["columns"])


def failed_dimensions(parsed: Manifest, results: Mapping[str, Any]) -> list[str]:
    """Return the dimensions that a build could not make, where facts can do without all that failed.

    Args:
        parsed: The manifest.
        results: What dbt wrote of the build, `run_results.json`.

    Returns:
        Names; none where something else failed as well, or nothing did.
    """
    failed = {result["unique_id"] for result in results["results"] if result["status"] in _FAILED}
    names = {node_of(parsed, node_of(parsed, node_id).get("attached_node") or node_id)["name"] for node_id in failed}
    spared = {dimension_of(table) for table in DIMENSIONS}
    views = {f"stg_lake__{table.name}" for table in DIMENSIONS}
    return sorted(names & spared) if names <= spared | views else []


def _constrained(column: Mapping[str, Any], kind: str) -> bool:
    return any(constraint["type"] == kind for constraint in column["constraints"])


def _tests(parsed: Manifest, node_id: str) -> Iterator[tuple[str | None, str, Node]]:
    """Column (None: the model), kind, and node of each test, in an order that does not hang on the parser's."""
    attached = [node for node in parsed["nodes"].values() if node.get("attached_node") == node_id]
    for node in sorted(attached, key=lambda node: str(node["name"])):
        yield node["column_name"], node["test_metadata"]["name"], node


def _referred(reference: str) -> str:
    return re.sub(r"^ref\('(.+)'\)$", r"\1", reference)
