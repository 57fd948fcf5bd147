"""Describe contracts as plain data, to print, store and compare them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orders_lakehouse.contracts.base import Rule, contract_version, personal_columns, rules_of
from orders_lakehouse.contracts.codes import CODE_LISTS
from orders_lakehouse.contracts.table import Table

# Owners of the tables.
OWNERS = ("team:data-platform",)
# Descriptions of the columns that quarantine tables add to their contract.
_EXTRA_COLUMNS = {
    "order_date": "Date at which the row would count; the capture date where that is not known",
    "reasons": "Every reason why the row was rejected, with commas between them",
    "contract_version": "Version of the contract that rejected it",
    "versions": "Versions of this row in raw, this one included",
}


# Suffix of a rule's text that says what happens to a row that breaks it; none for rules that reject.
_OUTCOMES: Mapping[str, Callable[[Rule], str]] = {
    "reject": lambda _: "",
    "blank": lambda rule: f" (else {', '.join(rule.blanks)} null, and a warning)",
    "warn": lambda _: " (else a warning)",
}


def document(table: Table) -> dict[str, Any]:
    """Describe a table's contract.

    Args:
        table: The table.

    Returns:
        version, description, key (columns), partitioned_by (column or None), columns (by name: Polars type, nullable,
        description, unit, personal), rules (by reason: the demand, and what happens to a row that breaks it unless it
        is rejected), codes (by column: each valid code, with the properties that decide which rows pass).
    """
    declared = table.model.to_schema().columns
    personal = personal_columns(table.model)
    columns = {}
    for name, dtype in table.schema.items():
        column = declared.get(name)
        columns[name] = {
            "type": str(dtype),
            "nullable": column is None or column.nullable,
            "description": column.description if column is not None else _EXTRA_COLUMNS.get(name),
            "unit": (column.metadata or {}).get("unit") if column is not None else None,
            "personal": name in personal,
        }
    described: dict[str, list[str]] = {}
    for rule in rules_of(table.model):
        described.setdefault(rule.reason, []).append(rule.description + _OUTCOMES[rule.outcome](rule))
    return {
        "version": contract_version(table.model),
        "description": _description(table),
        "key": list(table.key),
        "partitioned_by": table.partitioned_by,
        "columns": columns,
        "rules": {reason: "; ".join(texts) for reason, texts in described.items()},
        "codes": {name: _codes(column.metadata["codes"]) for name, column in declared.items() if _has_codes(column)},
    }


def _has_codes(column: Any) -> bool:
    return "codes" in (column.metadata or {})


def _codes(list_name: str) -> dict[str, str]:
    """Return the codes of a list and their aliases, with the properties that decide which rows pass."""
    codes, aliases = CODE_LISTS[list_name]
    return {code: str(entry) for code, entry in codes.items()} | {
        alias: f"as {code}" for alias, code in aliases.items()
    }


def demands(table: Table) -> dict[str | None, dict[str, str]]:
    """Describe the demands of a table's rules.

    Args:
        table: The table.

    Returns:
        Demand ("greater than 0") by column and reason; rules over several columns are under None, as sentences.
    """
    by_column: dict[str | None, dict[str, str]] = {}
    for rule in rules_of(table.model):
        of_column = by_column.setdefault(rule.column, {})
        demand = rule.description.removeprefix(f"{rule.column} is ") + _OUTCOMES[rule.outcome](rule)
        earlier = of_column.get(rule.reason)
        # "present and not blank" includes "present".
        of_column[rule.reason] = demand if earlier is None or demand.startswith(earlier) else f"{earlier}; {demand}"
    return by_column


def _description(table: Table) -> str:
    text = " ".join((table.model.__doc__ or "").split())
    # Quarantine has the contract of raw, because its rows keep their original form.
    return f"{text.rstrip('.')} that break a rule, in their original form." if table.layer == "quarantine" else text


def documents(tables: Iterable[Table]) -> dict[str, dict[str, Any]]:
    """Describe the contracts of tables, by path."""
    return {table.path: document(table) for table in tables}
