"""What differs between the contracts of both sides, in words."""

from collections.abc import Iterator, Mapping
from typing import Any

from orders_lakehouse.contracts.compatibility import Documents

# Facets of a column that are said in words, where they hold and where they do not.
_SAID = {"nullable": ("may be null", "not null"), "personal": ("personal", "not personal")}


def differences(before: Documents, after: Documents) -> list[str]:
    """What differs, a line each.

    Args:
        before: Contracts by table, as `contracts.document.documents` gives them.
        after: The same of the change.
    """
    said = [f"`{path}` is new." for path in after if path not in before]
    said += [f"`{path}` is gone." for path in before if path not in after]
    for path in before:
        if path in after:
            said += [f"`{path}`: {line}." for line in _of_table(before[path], after[path])]
    return said


def _of_table(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in ("version", "key", "partitioned_by"):
        if before[name] != after[name]:
            yield f"{name} {before[name]} → {after[name]}"
    yield from _named("column", before["columns"], after["columns"])
    yield from _named("rule", before["rules"], after["rules"])


def _named(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in before:
        if name not in after:
            yield f"{kind} `{name}` is gone ({_told(before[name])})"
        elif before[name] != after[name]:
            yield f"{kind} `{name}`: {_changed(before[name], after[name])}"
    for name in after:
        if name not in before:
            yield f"{kind} `{name}` is new ({_told(after[name])})"


def _told(of: Any) -> str:
    if isinstance(of, str):
        return of
    return f"{of['type']}, {'may be null' if of['nullable'] else 'not null'}: {of['description']}"


def _changed(before: Any, after: Any) -> str:
    """What differs of a rule, which is a sentence, or of a column, facet by facet."""
    if isinstance(before, str):
        return f"{before} → {after}"
    differing = [facet for facet in {**before, **after} if before.get(facet) != after.get(facet)]
    return "; ".join(_facet(facet, before.get(facet), after.get(facet)) for facet in differing)


def _facet(name: str, was: Any, now: Any) -> str:
    if name in _SAID:
        return " → ".join(_SAID[name][not value] for value in (was, now))
    return f"{name} {was or 'none'} → {now or 'none'}"
