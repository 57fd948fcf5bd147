"""Contracts as plain data: what each table holds and demands, to print it, to store it, and to compare it."""

from typing import Any

from orders_lakehouse.contracts.base import contract_version, personal_columns, rules_of
from orders_lakehouse.contracts.tables import TABLES, Table

# Who answers for the tables.
OWNERS = ("team:data-platform",)
# What a table has beside its contract: the verdict on a row of quarantine.
_BESIDE = {
    "order_date": "Date at which the row would count; the capture date where that is not known",
    "reasons": "Every reason why the row was rejected, with commas between them",
    "contract_version": "Version of the contract that rejected it",
    "versions": "Versions of this row in raw, this one included",
}


def document(table: Table) -> dict[str, Any]:
    """A table's contract.

    Args:
        table: The table.

    Returns:
        version, description, key (columns), partitioned_by (column or None), columns (by name: type as Polars calls it,
        nullable, description, unit, personal), rules (by reason: what is demanded).
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
        described.setdefault(rule.reason, []).append(rule.description)
    return {
        "version": contract_version(table.model),
        "description": _description(table),
        "key": list(table.key),
        "partitioned_by": table.partitioned_by,
        "columns": columns,
        "rules": {reason: "; ".join(said) for reason, said in described.items()},
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
        demand = rule.description.removeprefix(f"{rule.column} is ")
        said = of_column.get(rule.reason)
        # "present and not blank" says all that "present" does.
        of_column[rule.reason] = demand if said is None or demand.startswith(said) else f"{said}; {demand}"
    return found


def _description(table: Table) -> str:
    said = " ".join((table.model.__doc__ or "").split())
    # Quarantine has the contract of raw: its rows are kept as they came.
    return f"{said.rstrip('.')} that break a rule, as they came." if table.layer == "quarantine" else said


def documents() -> dict[str, dict[str, Any]]:
    """The contracts of all tables, by path."""
    return {table.path: document(table) for table in TABLES}
