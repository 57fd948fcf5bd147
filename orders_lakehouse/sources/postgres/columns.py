"""The columns of the shop's tables from Postgres's catalog: their types, and whether this user may read them.

information_schema does not serve, because it lacks materialized views and columns on which the user has no rights.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orders_lakehouse.contracts.raw import LINEAGE
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.postgres.connections import DatabaseError
from orders_lakehouse.tables import entity_of

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

SCHEMA = "shop"

# Query for columns and rights. Types have the names of information_schema.columns, as raw/source_columns stores them.
_COLUMNS = """
    SELECT
        c.relname::text, a.attname::text,
        CASE
            WHEN t.typelem <> 0 AND t.typlen = -1 THEN 'ARRAY'
            WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN format_type(t.oid, NULL)
            ELSE 'USER-DEFINED'
        END,
        CASE
            WHEN t.typelem <> 0 AND t.typlen = -1 OR t.typnamespace <> 'pg_catalog'::regnamespace THEN t.typname::text
            WHEN t.typname IN ('numeric', 'varchar', 'bpchar', 'bit', 'varbit') AND m.modifier <> -1
            THEN format_type(t.oid, m.modifier)
            ELSE format_type(t.oid, NULL)
        END,
        has_schema_privilege(s.oid, 'USAGE'),
        has_column_privilege(c.oid, a.attnum, 'SELECT'),
        -- Rows from before a constraint that is not validated may break it.
        (a.attnotnull OR d.typnotnull) AND NOT EXISTS (
            SELECT FROM pg_constraint AS n
            WHERE n.conrelid = c.oid AND n.contype = 'n' AND n.conkey = ARRAY[a.attnum] AND NOT n.convalidated
        ),
        c.relkind = 'f'
    FROM pg_namespace AS s
    INNER JOIN pg_class AS c ON s.oid = c.relnamespace
    INNER JOIN pg_attribute AS a ON c.oid = a.attrelid
    INNER JOIN pg_type AS d ON a.atttypid = d.oid
    INNER JOIN pg_type AS t ON t.oid = CASE d.typtype WHEN 'd' THEN d.typbasetype ELSE d.oid END
    CROSS JOIN LATERAL (SELECT CASE d.typtype WHEN 'd' THEN d.typtypmod ELSE a.atttypmod END AS modifier) AS m
    WHERE s.nspname = '{schema}' AND c.relname IN ({tables}) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY c.relname, a.attnum
"""


@dataclass(frozen=True)
class Column:
    """A column of the shop.

    Attributes:
        type: Its type as information_schema names it.
        written: Its type as Postgres writes it.
        may_use_schema: Whether this user has USAGE on its schema.
        is_granted: Whether this user has SELECT on it.
        is_not_null: Whether it is declared NOT NULL.
        is_foreign: Whether its table is foreign; Postgres never checks NOT NULL there.
    """

    type: str
    written: str
    may_use_schema: bool
    is_granted: bool
    is_not_null: bool
    is_foreign: bool

    @property
    def is_readable(self) -> bool:
        """Return whether this user may read it."""
        return self.may_use_schema and self.is_granted


def columns_of(cursor: "Cursor", tables: Iterable[Table]) -> dict[str, dict[str, Column]]:
    """Return all columns of tables of the shop, also those that this user may not read.

    Args:
        cursor: Cursor of a connection to the shop.
        tables: Raw tables to look for.

    Returns:
        Columns in the shop's order, by the name of the table; tables that do not exist have none.
    """
    by_table: dict[str, dict[str, Column]] = {table.name: {} for table in tables}
    names = ", ".join(f"'{name}'" for name in by_table)
    cursor.execute(_COLUMNS.format(schema=SCHEMA, tables=names))
    for table, column, *attributes in cursor.fetchall():
        by_table[table][column] = Column(*attributes)
    return by_table


def readable(columns: Mapping[str, Column]) -> dict[str, Column]:
    """Return the columns that this user may read."""
    return {name: column for name, column in columns.items() if column.is_readable}


def is_left_out(table: Table, columns: Mapping[str, Column]) -> bool:
    """Return whether the shop lacks an optional table."""
    return not columns and entity_of(table).is_optional


def contract_columns(table: Table) -> list[str]:
    """Return the columns of the shop's table that the contract of a raw table needs."""
    return [name for name in table.columns if name not in LINEAGE]


def grant(table: Table, columns: Collection[str], user: str) -> str:
    """Return the statement that lets a user read columns of a table of the shop."""
    return f"GRANT SELECT ({', '.join(columns)}) ON {SCHEMA}.{table.name} TO {user};"


def require_readable(cursor: "Cursor", table: Table, columns: Mapping[str, Column]) -> None:
    """Check that the shop has a table, and that this user may read its columns of the contract.

    Args:
        cursor: Cursor of a connection to the shop.
        table: The raw table.
        columns: Columns of the shop's table.

    Raises:
        DatabaseError: The table does not exist, or a right is missing; the message has the statements that grant it.
    """
    if not columns:
        raise DatabaseError(
            f"the shop has no table {SCHEMA}.{table.name}. Expected a table or view of that name with the columns "
            f"{', '.join(contract_columns(table))}; SHOP_DATABASE_URL names the database."
        )
    of_contract = {name: columns[name] for name in contract_columns(table) if name in columns}
    if all(column.is_readable for column in of_contract.values()):
        return
    cursor.execute("SELECT quote_ident(current_user)")
    ((user,),) = cursor.fetchall()
    missing = [name for name, column in of_contract.items() if not column.is_granted]
    statements = [grant(table, missing, user)] if missing else []
    if not all(column.may_use_schema for column in of_contract.values()):
        statements.insert(0, f"GRANT USAGE ON SCHEMA {SCHEMA} TO {user};")
    refused = f"the columns {', '.join(missing)} of {SCHEMA}.{table.name}" if missing else f"the schema {SCHEMA}"
    raise DatabaseError(
        f"user {user} of the shop may not read {refused}, which {table.path} needs. "
        f"Let the owner run: {' '.join(statements)}"
    )
