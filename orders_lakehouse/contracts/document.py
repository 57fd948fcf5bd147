"""Contracts as plain data: what each table holds and demands, to print it, to store it, and to compare it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orders_lakehouse.contracts.base import Rule, contract_version, personal_columns, rules_of
from orders_lakehouse.contracts.codes import CODE_LISTS
from orders_lakehouse.contracts.table import Table

# Who answers for the tables.
OWNERS = ("team:data-platform",)
# What a table has beside its contract: the verdict on a row of quarantine.
_BESIDE = {
    "order_date": "Date at which the row would count; the capture date where that is not known",
    "reasons": "Every reason why the row was rejected, with commas between them",
    "contract_version": "Version of the contract that rejected it",
    "versions": "Versions of this row in raw, this one included",
}


# What becomes of a row that breaks a rule, unless it is rejected.
_OUTCOMES: Mapping[str, Callable[[Rule], str]] = {
    "reject": lambda _: "",
    "blank": lambda rule: f" (else {', '.join(rule.blanks)} null, and a warning)",
    "warn": lambda _: " (else a warning)",
}


def document(table: Table) -> dict[str, Any]:
    """A table's contract.

    Args:
        table: The table.

    Returns:
        version, description, key (columns), partitioned_by (column or None), columns (by name: type as Polars calls it,
        nullable, description, unit, personal), rules (by reason: what is demanded, and what becomes of a row that
        breaks it unless it is rejected), codes (by column: each code that is valid, with what decides about its rows).
    """
    declared = table.model.to_schema().columns
    personal = personal_columns(table.model)
    columns = {}
    for name, dtype in table.schema.items():
        column = declared.get(name)
        columns[name] = {
            "type": str(dtype),
            "nullable": column is None or column.nullable,
            "description": column.description if column is not None else _BESIDE.get(name),
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
        "rules": {reason: "; ".join(said) for reason, said in described.items()},
        "codes": {name: _codes(column.metadata["codes"]) for name, column in declared.items() if _has_codes(column)},
    }


def _has_codes(column: Any) -> bool:
    return "codes" in (column.metadata or {})


def _codes(of_list: str) -> dict[str, str]:
    """Codes of a list and their aliases, with what decides about rows that have them."""
    codes, aliases = CODE_LISTS[of_list]
    return {code: str(entry) for code, entry in codes.items()} | {
        alias: f"as {code}" for alias, code in aliases.items()
    }


def demands(table: Table) -> dict[str | None, dict[str, str]]:
    """What a table's rules demand of its rows.

    Args:
        table: The table.

    Returns:
        By column, reason to demand ("greater than 0"); what several columns are judged by stands under None, in a
        sentence.
    """
    found: dict[str | None, dict[str, str]] = {}
    for rule in rules_of(table.model):
        of_column = found.setdefault(rule.column, {})
        demand = rule.description.removeprefix(f"{rule.column} is ") + _OUTCOMES[rule.outcome](rule)
        said = of_column.get(rule.reason)
        # "present and not blank" says all that "present" does.
        of_column[rule.reason] = demand if said is None or demand.startswith(said) else f"{said}; {demand}"
    return found


def _description(table: Table) -> str:
    said = " ".join((table.model.__doc__ or "").split())
    # Quarantine has the contract of raw: its rows are kept as they came.
    return f"{said.rstrip('.')} that break a rule, as they came." if table.layer == "quarantine" else said


def documents(tables: Iterable[Table]) -> dict[str, dict[str, Any]]:
    """The contracts of tables, by path."""
    return {table.path: document(table) for table in tables}
