"""Contracts as plain data: what each table holds and demands, to print it, to store it, and to compare it."""

from typing import Any

from orders_lakehouse.contracts.base import contract_version, personal_columns, rules_of
from orders_lakehouse.contracts.tables import TABLES, Table


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
            "description": column.description if column is not None else None,
            "unit": (column.metadata or {}).get("unit") if column is not None else None,
            "personal": name in personal,
        }
    demands: dict[str, list[str]] = {}
    for rule in rules_of(table.model):
        demands.setdefault(rule.reason, []).append(rule.description)
    return {
        "version": contract_version(table.model),
        "description": " ".join((table.model.__doc__ or "").split()),
        "key": list(table.key),
        "partitioned_by": table.partitioned_by,
        "columns": columns,
        "rules": {reason: "; ".join(described) for reason, described in demands.items()},
    }


def documents() -> dict[str, dict[str, Any]]:
    """The contracts of all tables, by path."""
    return {table.path: document(table) for table in TABLES}
