"""Reset the warehouse: drop the objects of the lakehouse, or empty those that others rely on.

Views and grants of others stay, and objects of others are not read.
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
    owned_objects,
    require_ours,
    views_of_ours_on,
)

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor


@dataclass(frozen=True)
class ResetObject:
    """One of our tables or views, to be dropped or emptied.

    Attributes:
        schema: Its schema.
        name: Its name.
        rows: Number of its rows; None for a view.
        held_by: Views, constraints and roles of others that rely on it. With any, a table is only emptied, and a view
            stays.
    """

    schema: str
    name: str
    rows: int | None
    held_by: tuple[str, ...]

    @property
    def relation(self) -> str:
        """Return schema and name, with a dot between them."""
        return f"{self.schema}.{self.name}"


def objects_to_reset(names: Collection[tuple[str, str]] | None) -> list[ResetObject]:
    """Return our tables and views that a reset would drop or empty.

    Args:
        names: Schema and name of each; None: all.

    Raises:
        DatabaseError: An object of others has one of our names.
        DatabaseUnavailableError: The warehouse cannot be reached.
    """
    with connect("warehouse") as connection, connection.cursor() as cursor:
        require_ours(cursor)
        objects = _objects(cursor, names)
        connection.commit()
    return objects


def reset(names: Collection[tuple[str, str]] | None, copies: Collection[Copy]) -> list[ResetObject]:
    """Drop or empty our tables and views in one transaction.

    Args:
        names: Schema and name of each; None: all.
        copies: The copies among them, whose recorded versions are removed.

    Raises:
        DatabaseError: An object of others has one of our names, or prevents a drop; nothing has changed.
        DatabaseUnavailableError: The warehouse cannot be reached.
    """
    with connect("warehouse") as connection, connection.cursor() as cursor:
        require_ours(cursor)
        objects = _objects(cursor, names)
        if value_of(cursor, f"SELECT to_regclass('{lake_schema()}.{LOADED}')::text") is not None and copies:
            listed = ", ".join(f"'{copy.name}'" for copy in copies)
            cursor.execute(f"DELETE FROM {lake_schema()}.{LOADED} WHERE table_name IN ({listed})")
        # Views are dropped first, because they depend on tables.
        for obj in sorted(objects, key=lambda obj: obj.rows is not None):
            _drop(cursor, obj)
        cursor.execute(
            f"DELETE FROM {lake_schema()}.{OWNED} WHERE to_regclass(format('%I.%I', schema_name, object_name)) IS NULL"
        )
        connection.commit()
    return objects


def _objects(cursor: "Cursor", names: Collection[tuple[str, str]] | None) -> list[ResetObject]:
    ours: Sequence[tuple[str, str, str]] = [
        (schema, name, kind) for schema, name, kind in owned_objects(cursor) if names is None or (schema, name) in names
    ]
    return [
        ResetObject(
            schema,
            name,
            None if kind == "v" else int(value_of(cursor, f"SELECT count(*) FROM {schema}.{name}")),
            _held_by(cursor, f"{schema}.{name}"),
        )
        for schema, name, kind in ours
    ]


def _held_by(cursor: "Cursor", relation: str) -> tuple[str, ...]:
    """Return objects and roles of others that rely on one of our tables or views, or on our views on it."""
    relations = (relation, *views_of_ours_on(cursor, relation))
    granted = [role for each in relations for role in _granted(cursor, each)]
    return tuple(dict.fromkeys([*dependents_of_others(cursor, relation), *granted]))


def _granted(cursor: "Cursor", relation: str) -> list[str]:
    """Return roles of others with rights on a table or a view, or on a column of it."""
    cursor.execute(
        "SELECT DISTINCT CASE WHEN granted.grantee = 0 THEN 'PUBLIC' ELSE granted.grantee::regrole::text END "
        "FROM pg_class AS c CROSS JOIN LATERAL (SELECT grantee FROM aclexplode(c.relacl) UNION SELECT g.grantee "
        "FROM pg_attribute AS a CROSS JOIN LATERAL aclexplode(a.attacl) AS g WHERE a.attrelid = c.oid) AS granted "
        f"WHERE c.oid = '{relation}'::regclass AND granted.grantee <> c.relowner ORDER BY 1"
    )
    readers = set(settings().readers.split(",")) if settings().readers else set()
    return [f"role {name}" for (name,) in cursor.fetchall() if name not in readers]


def _drop(cursor: "Cursor", obj: ResetObject) -> None:
    """Drop a table with our views on it, or empty it; a view that others rely on stays."""
    if value_of(cursor, f"SELECT to_regclass('{obj.relation}')::text") is None:
        return
    if obj.rows is None:
        if not obj.held_by:
            cursor.execute(f"DROP VIEW {obj.relation}")
    elif obj.held_by:
        cursor.execute(f"TRUNCATE {obj.relation}")
    else:
        drop_views_of_ours_on(cursor, obj.schema, obj.name)
        cursor.execute(f"DROP TABLE {obj.relation}")
