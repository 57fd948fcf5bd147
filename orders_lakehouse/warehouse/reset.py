"""Starting over in the warehouse: what the lakehouse made is dropped, or emptied where others rely on it.

Nothing of others goes along, neither a view nor a grant; what is not ours is not looked at.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orders_lakehouse.postgres.connections import connect, value_of
from orders_lakehouse.settings import settings
from orders_lakehouse.warehouse.copies import Copy, lake_schema
from orders_lakehouse.warehouse.ownership import (
    LOADED,
    OWNED,
    dependents_of_others,
    drop_views_of_ours_on,
    made_by_us,
    require_ours,
    views_of_ours_on,
)

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor


@dataclass(frozen=True)
class Going:
    """A table or view of ours.

    Attributes:
        schema: Its schema.
        name: Its name.
        rows: How many rows it has; None of a view.
        held_by: Views, constraints and roles of others that rely on it: it is emptied, and a view stays.
    """

    schema: str
    name: str
    rows: int | None
    held_by: tuple[str, ...]

    @property
    def relation(self) -> str:
        """Schema and name."""
        return f"{self.schema}.{self.name}"


def going(names: Collection[tuple[str, str]] | None) -> list[Going]:
    """Return which tables and views of ours would go.

    Args:
        names: Schema and name of each; None: all.

    Raises:
        DatabaseError: Something of others has one of our names.
        DatabaseUnavailableError: The warehouse cannot be reached.
    """
    with connect("warehouse") as connection, connection.cursor() as cursor:
        require_ours(cursor)
        found = _going(cursor, names)
        connection.commit()
    return found


def reset(names: Collection[tuple[str, str]] | None, copies: Collection[Copy]) -> list[Going]:
    """Drop or empty tables and views of ours, in one transaction.

    Args:
        names: Schema and name of each; None: all.
        copies: The copies among them, which forget what they have loaded.

    Raises:
        DatabaseError: Something of others has one of our names, or stands in the way; nothing has changed.
        DatabaseUnavailableError: The warehouse cannot be reached.
    """
    with connect("warehouse") as connection, connection.cursor() as cursor:
        require_ours(cursor)
        found = _going(cursor, names)
        if value_of(cursor, f"SELECT to_regclass('{lake_schema()}.{LOADED}')::text") is not None and copies:
            listed = ", ".join(f"'{copy.name}'" for copy in copies)
            cursor.execute(f"DELETE FROM {lake_schema()}.{LOADED} WHERE table_name IN ({listed})")
        # Views first, which stand on tables.
        for one in sorted(found, key=lambda one: one.rows is not None):
            _drop(cursor, one)
        cursor.execute(
            f"DELETE FROM {lake_schema()}.{OWNED} WHERE to_regclass(format('%I.%I', schema_name, object_name)) IS NULL"
        )
        connection.commit()
    return found


def _going(cursor: "Cursor", names: Collection[tuple[str, str]] | None) -> list[Going]:
    ours: Sequence[tuple[str, str, str]] = [
        (schema, name, kind) for schema, name, kind in made_by_us(cursor) if names is None or (schema, name) in names
    ]
    return [
        Going(
            schema,
            name,
            None if kind == "v" else int(value_of(cursor, f"SELECT count(*) FROM {schema}.{name}")),
            _held_by(cursor, f"{schema}.{name}"),
        )
        for schema, name, kind in ours
    ]


def _held_by(cursor: "Cursor", relation: str) -> tuple[str, ...]:
    """What of others relies on a table or view of ours, or on views of ours on it."""
    granted = [role for one in (relation, *views_of_ours_on(cursor, relation)) for role in _granted(cursor, one)]
    return tuple(dict.fromkeys([*dependents_of_others(cursor, relation), *granted]))


def _granted(cursor: "Cursor", relation: str) -> list[str]:
    """Roles that others have granted something on a table or a view, or on a column of it."""
    cursor.execute(
        "SELECT DISTINCT CASE WHEN granted.grantee = 0 THEN 'PUBLIC' ELSE granted.grantee::regrole::text END "
        "FROM pg_class AS c CROSS JOIN LATERAL (SELECT grantee FROM aclexplode(c.relacl) UNION SELECT g.grantee "
        "FROM pg_attribute AS a CROSS JOIN LATERAL aclexplode(a.attacl) AS g WHERE a.attrelid = c.oid) AS granted "
        f"WHERE c.oid = '{relation}'::regclass AND granted.grantee <> c.relowner ORDER BY 1"
    )
    readers = set(settings().readers.split(",")) if settings().readers else set()
    return [f"role {name}" for (name,) in cursor.fetchall() if name not in readers]


def _drop(cursor: "Cursor", one: Going) -> None:
    """Drop a table with the views of ours on it, or empty it; a view that others rely on stays."""
    if value_of(cursor, f"SELECT to_regclass('{one.relation}')::text") is None:
        return
    if one.rows is None:
        if not one.held_by:
            cursor.execute(f"DROP VIEW {one.relation}")
    elif one.held_by:
        cursor.execute(f"TRUNCATE {one.relation}")
    else:
        drop_views_of_ours_on(cursor, one.schema, one.name)
        cursor.execute(f"DROP TABLE {one.relation}")
