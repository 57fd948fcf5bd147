"""Compare contracts, and find changes that break their consumers. Pure functions over contracts as plain data.

A contract is the result of `document.document(table)`, several contracts that of `document.documents(tables)`, by this
or an earlier version of the program.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orders_lakehouse.contracts.table import Table

Documents = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Change:
    """A change that needs a new version of the contract.

    Attributes:
        table: Path of the table, layer/name.
        what: Part that has changed: `column status`, `type of column status`, `rule status_not_in_list`, `key`, ...
        before: Its value before.
        now: Its value now.
        breaks_shape: Whether readers break (a column, its type, the key); otherwise it changes which rows pass.
        to_do: What to do about it.
    """

    table: str
    what: str
    before: str
    now: str
    breaks_shape: bool
    to_do: str

    def __str__(self) -> str:
        return f"{self.table}: {self.what} was {self.before}, is {self.now}; {self.to_do}"


@dataclass(frozen=True)
class Missing:
    """A column that consumers read and that no contract offers.

    Attributes:
        table: Path of the table that should offer it, layer/name; if several could, all of them.
        column: The column.
        consumers: Paths of tables that read it, and names of other consumers.
    """

    table: str
    column: str
    consumers: tuple[str, ...]

    def __str__(self) -> str:
        *others, last = self.consumers
        named = f"{', '.join(others)} and {last} need" if others else f"{last} needs"
        return f"{self.table} has no column {self.column}; {named} it"


def incompatible(
    before: Documents, now: Documents, consumers: Mapping[str, Mapping[str, Sequence[str]]], tables: Iterable[Table]
) -> list[Change | Missing]:
    """Return the incompatibilities of contracts with earlier ones, and with their consumers.

    Args:
        before: Earlier contracts by path.
        now: Current contracts by path.
        consumers: Consumers other than the tables downstream, in the form of `broken_consumers`.
        tables: The tables, with those that they are derived from.
    """
    return [*breaking_changes(before, now), *broken_consumers(before, now, consumers, tables)]


def breaking_changes(before: Documents, now: Documents) -> list[Change]:
    """Return changes that need a new version in contracts that do not have one.

    New columns and new tables are no such changes. A column that is gone or renamed, has another type or unit, or may
    newly be null breaks readers; so does another key or partition. A new, removed or changed rule changes which rows
    pass, and so does a new or removed code, or one with other decimals or dates. That needs a new version, too, but
    breaks no reader. A column that may no longer be null is such a rule, `<column>_missing`. A table that is gone has
    no version to raise; `broken_consumers` returns its readers.

    Args:
        before: Earlier contracts by path.
        now: Current contracts by path.

    Returns:
        The changes, in the order of `before`; none of a table whose version has been raised.
    """
    changes: list[Change] = []
    for path, old in before.items():
        new = now.get(path)
        if new is None:
            continue
        if int(new["version"]) < int(old["version"]):
            to_do = "versions only go up: raise it above the published one"
            changes.append(Change(path, "version", old["version"], new["version"], True, to_do))
        elif new["version"] == old["version"]:
            changes += _changes(path, old, new)
    return changes


def _changes(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    to_do = f"raise the version of its contract to {int(old['version']) + 1}, or undo the change"
    shape = [
        *((what, old[what], new[what]) for what in ("key", "partitioned_by")),
        *(
            facet
            for name, column in old["columns"].items()
            for facet in _facets(name, column, new["columns"].get(name))
        ),
    ]
    rules = [
        (f"rule {reason}", old["rules"].get(reason, "no rule"), new["rules"].get(reason, "no rule"))
        for reason in dict.fromkeys((*old["rules"], *new["rules"]))
    ]
    # Contracts that were published before there were code lists have none.
    for column, codes in old.get("codes", {}).items():
        current = new.get("codes", {}).get(column, {})
        rules += [
            (f"code {code} of {column}", codes.get(code, "not listed"), current.get(code, "not listed"))
            for code in dict.fromkeys((*codes, *current))
        ]
    return [
        Change(path, what, str(was), str(is_), breaks_shape, to_do)
        for of_kind, breaks_shape in ((shape, True), (rules, False))
        for what, was, is_ in of_kind
        if was != is_
    ]


def _facets(name: str, old: Mapping[str, Any], new: Mapping[str, Any] | None) -> list[tuple[str, Any, Any]]:
    """Return the properties of a column that readers rely on and that may differ: name, earlier and current value."""
    if new is None:
        return [(f"column {name}", old["type"], "gone")]
    facets = [(f"{what} of column {name}", old[what], new[what]) for what in ("type", "unit")]
    if new["nullable"] and not old["nullable"]:
        facets.append((f"column {name}", "never null", "null at times"))
    return facets


def broken_consumers(
    before: Documents, now: Documents, consumers: Mapping[str, Mapping[str, Sequence[str]]], tables: Iterable[Table]
) -> list[Missing]:
    """Return columns that are read and that no contract offers (any more), regardless of versions.

    Readers are the tables downstream and the given consumers.

    Args:
        before: Earlier contracts by path. A column is expected where it came from then, even if another table upstream
            has one of the same name. `Table.computed` can declare a new origin.
        now: Current contracts by path.
        consumers: Other consumers by name: the columns that each reads, by the path of the table.
        tables: The tables, with those that they are derived from.

    Returns:
        The missing columns, each once, with all readers.
    """
    reads = [(name, path, column) for name, tables in consumers.items() for path in tables for column in tables[path]]
    for table in tables:
        if not table.upstream:
            continue
        for column in _columns(now, table.path):
            reads += [(table.path, path, read) for path, read in _read_by(table, column, before, now)]
    missing: dict[tuple[str, str], list[str]] = {}
    for consumer, path, column in reads:
        if column not in _columns(now, path):
            missing.setdefault((path, column), []).append(consumer)
    return [Missing(path, column, tuple(dict.fromkeys(who))) for (path, column), who in missing.items()]


def _read_by(table: Table, column: str, before: Documents, now: Documents) -> list[tuple[str, str]]:
    """Return path and name of the columns that a column of a table is made of."""
    computed = table.computed.get(column)
    if computed is not None:
        return [(origin.table.path, origin.column) for origin in computed]
    sources = [source.path for source in table.upstream]
    # The earlier origin comes first: products have a currency, too, and it is not that of an order. A new column that
    # no table upstream has may be meant to come from any of them.
    offering = [path for contracts in (before, now) for path in sources if column in _columns(contracts, path)]
    return [(next(iter(offering), " or ".join(sources)), column)]


def _columns(contracts: Documents, path: str) -> Mapping[str, Any]:
    columns: Mapping[str, Any] = contracts.get(path, {}).get("columns", {})
    return columns
