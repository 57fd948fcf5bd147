"""What a change of the contracts means for whoever relies on them. Pure functions over contracts as plain data.

A contract is `document.document(table)`; several of them, by path, are `document.documents(tables)`, or what such a
call returned in another version of the program.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orders_lakehouse.contracts.table import Table

Documents = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Change:
    """A change that a contract of the same version may not make.

    Attributes:
        table: Path of the table, layer/name.
        what: What has changed: `column status`, `type of column status`, `rule status_not_in_list`, `key`, ...
        before: What it was.
        now: What it is.
        breaks_shape: Whether readers break on it (a column, its type, the key); if not, it changes which rows pass.
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
    """A column that is read, and that the contract does not offer.

    Attributes:
        table: Path of the table that does not offer it, layer/name; of several that might, all of them.
        column: The column.
        consumers: Who reads it: paths of tables, and consumers by the names that they were given.
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
    """What makes contracts incompatible with those of before, or with what reads them.

    Args:
        before: Contracts by path, as they were.
        now: Contracts by path, as they are.
        consumers: Who reads them beside the tables downstream, as `broken_consumers` takes them.
        tables: The tables, which say what they are derived from.
    """
    return [*breaking_changes(before, now), *broken_consumers(before, now, consumers, tables)]


def breaking_changes(before: Documents, now: Documents) -> list[Change]:
    """What has changed in contracts that have not got a new version, and needs one.

    A new column and a new table break nobody. What does: a column that is gone or renamed, has another type or unit, or
    may be null where it could not before; another key or partition. A rule that came, went or demands something else
    changes which rows pass, and so does a code that came to a list, left it, or has other decimals or dates: that needs
    a new version as well, but breaks no reader. A column that may no longer be null is such a rule, `<column>_missing`.
    A table that is gone has no version to raise: `broken_consumers` says who reads it.

    Args:
        before: Contracts by path, as they were.
        now: Contracts by path, as they are.

    Returns:
        The changes, in the order of `before`; none of a table whose version is higher than it was.
    """
    found: list[Change] = []
    for path, old in before.items():
        new = now.get(path)
        if new is None:
            continue
        if int(new["version"]) < int(old["version"]):
            to_do = "versions only go up: raise it above the published one"
            found.append(Change(path, "version", old["version"], new["version"], True, to_do))
        elif new["version"] == old["version"]:
            found += _changes(path, old, new)
    return found


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
    # Contracts that were published before they had code lists say nothing of them.
    for column, codes in old.get("codes", {}).items():
        of_now = new.get("codes", {}).get(column, {})
        rules += [
            (f"code {code} of {column}", codes.get(code, "not listed"), of_now.get(code, "not listed"))
            for code in dict.fromkeys((*codes, *of_now))
        ]
    return [
        Change(path, what, str(was), str(is_), breaks_shape, to_do)
        for of_kind, breaks_shape in ((shape, True), (rules, False))
        for what, was, is_ in of_kind
        if was != is_
    ]


def _facets(name: str, old: Mapping[str, Any], new: Mapping[str, Any] | None) -> list[tuple[str, Any, Any]]:
    """What others rely on in a column: what it is called, as it was, as it is."""
    if new is None:
        return [(f"column {name}", old["type"], "gone")]
    facets = [(f"{what} of column {name}", old[what], new[what]) for what in ("type", "unit")]
    if new["nullable"] and not old["nullable"]:
        facets.append((f"column {name}", "never null", "null at times"))
    return facets


def broken_consumers(
    before: Documents, now: Documents, consumers: Mapping[str, Mapping[str, Sequence[str]]], tables: Iterable[Table]
) -> list[Missing]:
    """Columns that somebody reads and that no contract offers (any more), whatever the versions.

    Who reads: the tables downstream, and the consumers that are given.

    Args:
        before: Contracts by path, as they were. A column is read from where it came then, though another table
            upstream may have one of the same name; when it is meant to come from there now, `Table.computed` says so.
        now: Contracts by path, as they are.
        consumers: Others by name: the columns that each reads, by the path of the table.
        tables: The tables, which say what they are derived from.

    Returns:
        The columns that are missing, each once, with all who read it.
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
    """Path and name of the columns that a column of a table is made of."""
    computed = table.computed.get(column)
    if computed is not None:
        return [(origin.table.path, origin.column) for origin in computed]
    sources = [source.path for source in table.upstream]
    # From where it used to come: products have a currency too, and it is not the one of an order. A new column that
    # nobody upstream has may be meant to come from any of them.
    offering = [path for contracts in (before, now) for path in sources if column in _columns(contracts, path)]
    return [(next(iter(offering), " or ".join(sources)), column)]


def _columns(contracts: Documents, path: str) -> Mapping[str, Any]:
    columns: Mapping[str, Any] = contracts.get(path, {}).get("columns", {})
    return columns
