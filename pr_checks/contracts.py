"""Describe the differences between the contracts of both sides."""

from collections.abc import Iterator, Mapping
from typing import Any

from orders_lakehouse.contracts.compatibility import Documents

# Words for boolean properties of a column: if true, and if false.
_WORDS = {"nullable": ("may be null", "not null"), "personal": ("personal", "not personal")}


def differences(before: Documents, after: Documents) -> list[str]:
    """Return the differences, a line for each.

    Args:
        before: Contracts by table, the result of `contracts.document.documents`.
        after: The same of the change.
    """
    lines = [f"`{path}` is new." for path in after if path not in before]
    lines += [f"`{path}` is gone." for path in before if path not in after]
    for path in before:
        if path in after:
            lines += [f"`{path}`: {line}." for line in _of_table(before[path], after[path])]
    return lines


def _of_table(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in ("version", "key", "partitioned_by"):
        if before[name] != after[name]:
            yield f"{name} {before[name]} → {after[name]}"
    yield from _named("column", before["columns"], after["columns"])
    yield from _named("rule", before["rules"], after["rules"])


def _named(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in before:
        if name not in after:
            yield f"{kind} `{name}` is gone ({_described(before[name])})"
        elif before[name] != after[name]:
            yield f"{kind} `{name}`: {_changed(before[name], after[name])}"
    for name in after:
        if name not in before:
            yield f"{kind} `{name}` is new ({_described(after[name])})"


def _described(part: Any) -> str:
    if isinstance(part, str):
        return part
    return f"{part['type']}, {'may be null' if part['nullable'] else 'not null'}: {part['description']}"


def _changed(before: Any, after: Any) -> str:
    """Describe the change of a rule, which is a sentence, or of a column, property by property."""
    if isinstance(before, str):
        return f"{before} → {after}"
    differing = [facet for facet in {**before, **after} if before.get(facet) != after.get(facet)]
    return "; ".join(_facet(facet, before.get(facet), after.get(facet)) for facet in differing)


def _facet(name: str, was: Any, now: Any) -> str:
    if name in _WORDS:
        return " → ".join(_WORDS[name][not value] for value in (was, now))
    return f"{name} {was or 'none'} → {now or 'none'}"
