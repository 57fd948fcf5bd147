"""Objects of the warehouse that are ours: tables and views that the lakehouse made, by schema, name and oid.

A warehouse is shared. A table of others that has one of our names is neither dropped nor altered nor written. So each
writer first calls `require_ours`, and each table that is made is registered: by `register`, or by dbt's macro
`register_as_ours`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orders_lakehouse.postgres.connections import DatabaseError, lock_by_name, value_of
from orders_lakehouse.settings import DBT_PROJECT, settings
from orders_lakehouse.warehouse import models
from orders_lakehouse.warehouse.copies import COPIES, lake_schema

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

log = logging.getLogger(__name__)

# Name of the table that lists our objects, in the schema of the copies.
OWNED = "lakehouse_objects"
# Name of the table with the loaded versions, in the same schema, and its columns.
LOADED = "loaded"
_LOADED_COLUMNS = {"table_name", "delta_id", "delta_version", "loaded_at"}
_CALENDAR_COLUMNS = {"date", "is_holiday", "holiday_name"}


@dataclass(frozen=True)
class _Object:
    """A table or view in the warehouse.

    Attributes:
        schema: Its schema.
        name: Its name.
        oid: Its identity in Postgres, which a change of name keeps.
        kind: r (table), v (view), or another letter of pg_class.relkind.
        is_unlogged: Whether a crash empties it.
        columns: Its columns.
    """

    schema: str
    name: str
    oid: int
    kind: str
    is_unlogged: bool
    columns: frozenset[str]

    def __str__(self) -> str:
        return f"{self.schema}.{self.name} ({', '.join(sorted(self.columns))})"


def require_ours(cursor: "Cursor") -> None:
    """Check that all objects under names of the lakehouse are ours, and create its schemas.

    At the first call, no object is registered. Objects of an earlier version of the lakehouse are then recognised by
    their columns (`_looks_like_ours`), and registered. The transaction is left open.

    Args:
        cursor: Cursor of a connection to the warehouse that has written nothing yet.

    Raises:
        DatabaseError: Tables or views of others have our names; nothing has been written.
    """
    # The lock is needed because two sessions that create the same schema at once collide.
    lock_by_name(cursor, lake_schema())
    existing = _existing_objects(cursor)
    known = _known(cursor)
    is_first = known is None
    ours = {obj for obj in existing if _looks_like_ours(cursor, obj, existing)} if known is None else known
    others = [obj for obj in existing if (obj if is_first else (obj.schema, obj.name, obj.oid)) not in ours]
    if others:
        raise _refusal(others, is_first=is_first)
    for schema in _names():
        _make_schema(cursor, schema)
    _grant_usage(cursor, settings().marts_schema)
    if is_first:
        cursor.execute(
            f"CREATE TABLE {lake_schema()}.{OWNED} (schema_name text, object_name text, object_id oid NOT NULL, "
            "PRIMARY KEY (schema_name, object_name))"
        )
        cursor.execute(
            f"COMMENT ON TABLE {lake_schema()}.{OWNED} IS 'Tables and views that the orders lakehouse made, and may "
            "change and drop. It touches nothing else.'"
        )
        for obj in existing:
            register(cursor, obj.schema, obj.name)
        if existing:
            log.warning(
                "Took over %s tables and views that an earlier version of the lakehouse made: %s",
                len(existing),
                ", ".join(f"{obj.schema}.{obj.name}" for obj in existing),
            )


def register(cursor: "Cursor", schema: str, name: str) -> None:
    """Register a table or view as ours, in the transaction that made it."""
    cursor.execute(
        f"INSERT INTO {lake_schema()}.{OWNED} VALUES ('{schema}', '{name}', '{schema}.{name}'::regclass) "
        "ON CONFLICT (schema_name, object_name) DO UPDATE SET object_id = excluded.object_id "
        f"WHERE {OWNED}.object_id <> excluded.object_id"
    )


def owned_objects(cursor: "Cursor") -> list[tuple[str, str, str]]:
    """Return schema, name and kind (r: table, v: view) of all our objects; call `require_ours` before."""
    return [(obj.schema, obj.name, obj.kind) for obj in _existing_objects(cursor)]


def dependents_of_others(cursor: "Cursor", relation: str) -> list[str]:
    """Return the views of others on one of our tables or views, and constraints of others that refer to it."""
    cursor.execute(
        "SELECT conrelid::regclass || '.' || conname FROM pg_constraint AS c "
        f"LEFT JOIN {lake_schema()}.{OWNED} AS owned ON owned.object_id = c.conrelid "
        f"WHERE c.confrelid = '{relation}'::regclass AND owned.object_id IS NULL ORDER BY 1"
    )
    return [*_dependents(cursor, relation), *(name for (name,) in cursor.fetchall())]


def require_no_dependents(cursor: "Cursor", schema: str, name: str) -> None:
    """Refuse to drop a table that objects of others depend on.

    Raises:
        DatabaseError: Views of others read it, or read one of our views on it.
    """
    dependents = _dependents(cursor, f"{schema}.{name}")
    if dependents:
        raise DatabaseError(
            f"{schema}.{name} has to be created again, because its columns have changed, and {', '.join(dependents)} "
            "of others depends on it. Nothing was changed: drop the dependent objects, run again, and create them "
            "again."
        )


def drop_views_of_ours_on(cursor: "Cursor", schema: str, name: str) -> None:
    """Drop dbt's staging views on a table, because dbt makes them again; call `require_no_dependents` before."""
    for view in views_of_ours_on(cursor, f"{schema}.{name}"):
        cursor.execute(f"DROP VIEW {view}")


def _make_schema(cursor: "Cursor", schema: str) -> None:
    """Create a schema if it does not exist; only then is the right to create schemas needed."""
    if value_of(cursor, f"SELECT to_regnamespace('{schema}')::text") is not None:
        return
    if not value_of(cursor, "SELECT has_database_privilege(current_database(), 'CREATE')"):
        user, database = value_of(cursor, "SELECT current_user"), value_of(cursor, "SELECT current_database()")
        raise DatabaseError(
            f"the warehouse has no schema {schema}, and the user {user} may not make one in {database}. Have its owner "
            f"run: CREATE SCHEMA {schema} AUTHORIZATION {user}"
        )
    cursor.execute(f"CREATE SCHEMA {schema}")


def _grant_usage(cursor: "Cursor", schema: str) -> None:
    """Grant the readers of the settings the use of a schema, if they lack it.

    Raises:
        DatabaseError: A role does not exist.
    """
    readers = settings().readers.split(",") if settings().readers else []
    if not readers:
        return
    listed = ", ".join(f"'{name}'" for name in readers)
    cursor.execute(
        f"SELECT rolname, has_schema_privilege(oid, '{schema}', 'USAGE') FROM pg_roles WHERE rolname IN ({listed})"
    )
    may_use = dict(cursor.fetchall())
    unknown = [name for name in readers if name not in may_use]
    if unknown:
        raise DatabaseError(
            f"LAKEHOUSE_READERS names {', '.join(unknown)}, and the warehouse has no such role. Make it, or correct "
            "the setting."
        )
    without = [name for name in readers if not may_use[name]]
    if without:
        cursor.execute(f"GRANT USAGE ON SCHEMA {schema} TO {', '.join(without)}")


def _refusal(others: Sequence[_Object], *, is_first: bool) -> DatabaseError:
    variables = {
        settings().lake_schema: "LAKEHOUSE_LAKE_SCHEMA",
        settings().staging_schema: "LAKEHOUSE_STAGING_SCHEMA",
        settings().marts_schema: "LAKEHOUSE_MARTS_SCHEMA",
    }
    to_set = ", ".join(sorted({variables[obj.schema] for obj in others}))
    restored = (
        ""
        if is_first
        else " If the lakehouse made them and they were restored from a dump, for example, drop the table "
        f"{lake_schema()}.{OWNED}: the lakehouse then recognises its objects again."
    )
    return DatabaseError(
        f"the warehouse has tables or views that the lakehouse did not make, under names that it uses: "
        f"{'; '.join(map(str, others))}. Nothing was written. Set {to_set} to schemas of the lakehouse's own, or move "
        f"them away.{restored}"
    )


def _names() -> dict[str, list[str]]:
    """Return the names of all objects that the lakehouse makes, by schema."""
    of_copies = [name for copy in COPIES for name in (copy.name, copy.keys, second_half_table(copy.name)) if name]
    folders = {"staging": settings().staging_schema, "marts": settings().marts_schema}
    of_models = {
        schema: sorted(file.stem for file in (DBT_PROJECT / "models" / folder).glob("*.sql"))
        for folder, schema in folders.items()
    }
    return {lake_schema(): [LOADED, "calendar", *of_copies], **of_models}


def second_half_table(name: str) -> str:
    """Return the name of the table for the second half of a copy while it is loaded."""
    return f"{name}_beside"


def _existing_objects(cursor: "Cursor") -> list[_Object]:
    """Return all objects under names that the lakehouse uses, whoever owns them."""
    has_our_name = " OR ".join(
        f"(n.nspname = '{schema}' AND c.relname IN ({', '.join(repr(name) for name in names)}))"
        for schema, names in _names().items()
    )
    cursor.execute(
        "SELECT n.nspname, c.relname, c.oid::bigint, c.relkind::text, c.relpersistence = 'u', "
        "coalesce(string_agg(a.attname, ',' ORDER BY a.attnum), '') "
        "FROM pg_class AS c INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid "
        "LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        f"WHERE {has_our_name} GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2"
    )
    return [
        _Object(schema, name, oid, kind, is_unlogged, frozenset(filter(None, columns.split(","))))
        for schema, name, oid, kind, is_unlogged, columns in cursor.fetchall()
    ]


def _known(cursor: "Cursor") -> set[tuple[str, str, int]] | None:
    """Return schema, name and oid of the registered objects; None if nothing was registered yet."""
    if value_of(cursor, f"SELECT to_regclass('{lake_schema()}.{OWNED}')::text") is None:
        return None
    cursor.execute(f"SELECT schema_name, object_name, object_id::bigint FROM {lake_schema()}.{OWNED}")
    return set(cursor.fetchall())


def _looks_like_ours(cursor: "Cursor", obj: _Object, existing: Sequence[_Object]) -> bool:
    """Return whether an earlier version of the lakehouse made an object, which did not register it.

    That version had a table of loaded versions, unlogged copies with the columns of the lake's tables, and views on the
    copies. Its marts have only columns of the model of the same name, and the model's key among them.
    """
    loaded = [other for other in existing if (other.schema, other.name) == (lake_schema(), LOADED)]
    if not loaded or not loaded[0].is_unlogged or loaded[0].columns != _LOADED_COLUMNS:
        return False
    if obj.schema == lake_schema():
        if obj.name in (LOADED, "calendar"):
            return obj.columns == (_LOADED_COLUMNS if obj.name == LOADED else _CALENDAR_COLUMNS)
        return obj.kind == "r" and obj.is_unlogged and obj.columns >= _columns_of_copies()[obj.name]
    if obj.schema == settings().staging_schema:
        return obj.kind == "v" and value_of(cursor, _READS_A_COPY.format(oid=obj.oid, schema=lake_schema()))
    known = list(models.columns_of(models.manifest(), f"model.orders_lakehouse.{obj.name}"))
    return obj.kind == "r" and known[0] in obj.columns and obj.columns <= set(known)


# Query whether a view reads a table in the schema of the copies.
_READS_A_COPY = (
    "SELECT EXISTS (SELECT FROM pg_rewrite AS w INNER JOIN pg_depend AS d ON d.objid = w.oid "
    "AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass "
    "INNER JOIN pg_class AS c ON d.refobjid = c.oid "
    "WHERE w.ev_class = {oid} AND c.relnamespace = '{schema}'::regnamespace)"
)


def _columns_of_copies() -> Mapping[str, frozenset[str]]:
    """Return columns that each table of a copy has had in every version, by name of the table."""
    by_name: dict[str, frozenset[str]] = {}
    for copy in COPIES:
        by_name[copy.name] = by_name[second_half_table(copy.name)] = frozenset({copy.partition, *copy.table.key})
        if copy.keys and copy.counted:
            by_name[copy.keys] = frozenset({copy.counted, "rows"})
    return by_name


def _dependents(cursor: "Cursor", table: str) -> list[str]:
    """Return views of others that read a table, or one of our views on it."""
    ours = views_of_ours_on(cursor, table)
    return sorted({view for relation in (table, *ours) for view in _views_on(cursor, relation, ours=False)})


def views_of_ours_on(cursor: "Cursor", relation: str) -> list[str]:
    """Return dbt's staging views on a table."""
    return _views_on(cursor, relation, ours=True)


def _views_on(cursor: "Cursor", relation: str, *, ours: bool) -> list[str]:
    """Return views and materialized views that read a table or view: ours, or those of others."""
    cursor.execute(
        "SELECT DISTINCT w.ev_class::regclass::text FROM pg_depend AS d "
        "INNER JOIN pg_rewrite AS w ON d.objid = w.oid AND d.classid = 'pg_rewrite'::regclass "
        f"LEFT JOIN {lake_schema()}.{OWNED} AS owned ON owned.object_id = w.ev_class "
        f"WHERE d.refobjid = '{relation}'::regclass AND w.ev_class <> d.refobjid "
        f"AND (owned.object_id IS NOT NULL) = {ours} ORDER BY 1"
    )
    return [name for (name,) in cursor.fetchall()]
