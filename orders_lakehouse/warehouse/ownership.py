"""What is ours in the warehouse: the tables and views that the lakehouse made, by schema, name and oid.

A warehouse is shared. A table that merely has one of our names is somebody else's, and is neither dropped nor altered
nor written: whoever is about to write asks first (`require_ours`), and whoever makes a table says so (`register`; dbt's
models say so by the macro `register_as_ours`).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orders_lakehouse.postgres.connections import DatabaseError, value_of, wait_for_turn
from orders_lakehouse.settings import DBT_PROJECT, settings
from orders_lakehouse.warehouse import models
from orders_lakehouse.warehouse.copies import COPIES, lake_schema

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

log = logging.getLogger(__name__)

# The table that says what is ours, in the schema of the copies.
OWNED = "lakehouse_objects"
# What the loads remember, in the same schema, and its columns.
LOADED = "loaded"
_LOADED_COLUMNS = {"table_name", "delta_id", "delta_version", "loaded_at"}
_CALENDAR_COLUMNS = {"date", "is_holiday", "holiday_name"}


@dataclass(frozen=True)
class _Object:
    """A table or view that stands in the warehouse.

    Attributes:
        schema: Its schema.
        name: Its name.
        oid: By which Postgres knows it, whatever it is called.
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
    """Make sure that nothing that the lakehouse writes in the warehouse is somebody else's.

    The first time, nothing is known to be ours. Then what an earlier version of the lakehouse made is taken over, by
    what no one else would have made: see `_is_ours_by_its_looks`. The transaction is left open.

    Args:
        cursor: Of a connection to the warehouse, in which nothing has been written yet.

    Raises:
        DatabaseError: There are tables or views of others under our names; nothing has been written.
    """
    # Two sessions that create the same schema at once collide, so this is one at a time.
    wait_for_turn(cursor, lake_schema())
    standing = _standing(cursor)
    known = _known(cursor)
    is_first = known is None
    ours = {one for one in standing if _is_ours_by_its_looks(cursor, one, standing)} if known is None else known
    others = [one for one in standing if (one if is_first else (one.schema, one.name, one.oid)) not in ours]
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
        for one in standing:
            register(cursor, one.schema, one.name)
        if standing:
            log.warning(
                "Took over %s tables and views that an earlier version of the lakehouse made: %s",
                len(standing),
                ", ".join(f"{one.schema}.{one.name}" for one in standing),
            )


def register(cursor: "Cursor", schema: str, name: str) -> None:
    """Say of a table or view that it is ours, in the transaction that made it."""
    cursor.execute(
        f"INSERT INTO {lake_schema()}.{OWNED} VALUES ('{schema}', '{name}', '{schema}.{name}'::regclass) "
        "ON CONFLICT (schema_name, object_name) DO UPDATE SET object_id = excluded.object_id "
        f"WHERE {OWNED}.object_id <> excluded.object_id"
    )


def made_by_us(cursor: "Cursor") -> list[tuple[str, str, str]]:
    """Return schema, name and kind (r: table, v: view) of all that is ours; call `require_ours` before."""
    return [(one.schema, one.name, one.kind) for one in _standing(cursor)]


def dependents_of_others(cursor: "Cursor", relation: str) -> list[str]:
    """Return the views of others on a table or view of ours, and the constraints of others that refer to it."""
    cursor.execute(
        "SELECT conrelid::regclass || '.' || conname FROM pg_constraint AS c "
        f"LEFT JOIN {lake_schema()}.{OWNED} AS owned ON owned.object_id = c.conrelid "
        f"WHERE c.confrelid = '{relation}'::regclass AND owned.object_id IS NULL ORDER BY 1"
    )
    return [*_dependents(cursor, relation), *(name for (name,) in cursor.fetchall())]


def require_no_dependents(cursor: "Cursor", schema: str, name: str) -> None:
    """Refuse to drop a table that others have made something of.

    Raises:
        DatabaseError: Views of others stand on it, or on a view of ours on it.
    """
    dependents = _dependents(cursor, f"{schema}.{name}")
    if dependents:
        raise DatabaseError(
            f"{schema}.{name} has to be made anew, because it has other columns now, and {', '.join(dependents)} of "
            "others depends on it. Nothing was changed: drop what depends on it, run again, and make it again."
        )


def drop_views_of_ours_on(cursor: "Cursor", schema: str, name: str) -> None:
    """Drop dbt's staging views on a table, which dbt makes again; call `require_no_dependents` before."""
    for view in views_of_ours_on(cursor, f"{schema}.{name}"):
        cursor.execute(f"DROP VIEW {view}")


def _make_schema(cursor: "Cursor", schema: str) -> None:
    """Make a schema where there is none; where there is one, no right to make schemas is needed."""
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
    """Let the readers of the settings use a schema, where they may not yet.

    Raises:
        DatabaseError: There is no such role.
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
    to_set = ", ".join(sorted({variables[one.schema] for one in others}))
    restored = (
        ""
        if is_first
        else " If they are ours all the same, restored from a dump for example, drop the table "
        f"{lake_schema()}.{OWNED}: what the lakehouse made is then recognised once more."
    )
    return DatabaseError(
        f"the warehouse has tables or views that the lakehouse did not make, under names that it uses: "
        f"{'; '.join(map(str, others))}. Nothing was written. Set {to_set} to schemas of the lakehouse's own, or move "
        f"them away.{restored}"
    )


def _names() -> dict[str, list[str]]:
    """Schema to the names of all that the lakehouse makes in it."""
    of_copies = [name for copy in COPIES for name in (copy.name, copy.keys, beside(copy.name)) if name]
    folders = {"staging": settings().staging_schema, "marts": settings().marts_schema}
    of_models = {
        schema: sorted(file.stem for file in (DBT_PROJECT / "models" / folder).glob("*.sql"))
        for folder, schema in folders.items()
    }
    return {lake_schema(): [LOADED, "calendar", *of_copies], **of_models}


def beside(name: str) -> str:
    """Name of the table that takes the second half of a copy while it is loaded."""
    return f"{name}_beside"


def _standing(cursor: "Cursor") -> list[_Object]:
    """What stands under the names that the lakehouse uses, whosesoever it is."""
    wanted = " OR ".join(
        f"(n.nspname = '{schema}' AND c.relname IN ({', '.join(repr(name) for name in names)}))"
        for schema, names in _names().items()
    )
    cursor.execute(
        "SELECT n.nspname, c.relname, c.oid::bigint, c.relkind::text, c.relpersistence = 'u', "
        "coalesce(string_agg(a.attname, ',' ORDER BY a.attnum), '') "
        "FROM pg_class AS c INNER JOIN pg_namespace AS n ON c.relnamespace = n.oid "
        "LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        f"WHERE {wanted} GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2"
    )
    return [
        _Object(schema, name, oid, kind, is_unlogged, frozenset(filter(None, columns.split(","))))
        for schema, name, oid, kind, is_unlogged, columns in cursor.fetchall()
    ]


def _known(cursor: "Cursor") -> set[tuple[str, str, int]] | None:
    """What is known to be ours: schema, name, oid; None where nobody has written it down yet."""
    if value_of(cursor, f"SELECT to_regclass('{lake_schema()}.{OWNED}')::text") is None:
        return None
    cursor.execute(f"SELECT schema_name, object_name, object_id::bigint FROM {lake_schema()}.{OWNED}")
    return set(cursor.fetchall())


def _is_ours_by_its_looks(cursor: "Cursor", one: _Object, standing: Sequence[_Object]) -> bool:
    """Whether an earlier version of the lakehouse made something, which wrote nothing down.

    It had a table of what was loaded, unlogged copies with the columns of the lake's tables, views on these, and marts
    whose columns all are columns of the model of that name, the key among them.
    """
    loaded = [other for other in standing if (other.schema, other.name) == (lake_schema(), LOADED)]
    if not loaded or not loaded[0].is_unlogged or loaded[0].columns != _LOADED_COLUMNS:
        return False
    if one.schema == lake_schema():
        if one.name in (LOADED, "calendar"):
            return one.columns == (_LOADED_COLUMNS if one.name == LOADED else _CALENDAR_COLUMNS)
        return one.kind == "r" and one.is_unlogged and one.columns >= _columns_of_copies()[one.name]
    if one.schema == settings().staging_schema:
        return one.kind == "v" and value_of(cursor, _READS_A_COPY.format(oid=one.oid, schema=lake_schema()))
    known = list(models.columns_of(models.manifest(), f"model.orders_lakehouse.{one.name}"))
    return one.kind == "r" and known[0] in one.columns and one.columns <= set(known)


# Whether a view is made of a table in the schema of the copies.
_READS_A_COPY = (
    "SELECT EXISTS (SELECT FROM pg_rewrite AS w INNER JOIN pg_depend AS d ON d.objid = w.oid "
    "AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass "
    "INNER JOIN pg_class AS c ON d.refobjid = c.oid "
    "WHERE w.ev_class = {oid} AND c.relnamespace = '{schema}'::regnamespace)"
)


def _columns_of_copies() -> Mapping[str, frozenset[str]]:
    """Name of each table of a copy to columns that it has had in every version."""
    found: dict[str, frozenset[str]] = {}
    for copy in COPIES:
        found[copy.name] = found[beside(copy.name)] = frozenset({copy.partition, *copy.table.key})
        if copy.keys and copy.counted:
            found[copy.keys] = frozenset({copy.counted, "rows"})
    return found


def _dependents(cursor: "Cursor", table: str) -> list[str]:
    """Views of others on a table, and on views of ours on it."""
    ours = views_of_ours_on(cursor, table)
    return sorted({view for one in (table, *ours) for view in _views_on(cursor, one, ours=False)})


def views_of_ours_on(cursor: "Cursor", relation: str) -> list[str]:
    """Return dbt's staging views on a table."""
    return _views_on(cursor, relation, ours=True)


def _views_on(cursor: "Cursor", relation: str, *, ours: bool) -> list[str]:
    """Views and materialized views that read a table or view: those of ours, or those of others."""
    cursor.execute(
        "SELECT DISTINCT w.ev_class::regclass::text FROM pg_depend AS d "
        "INNER JOIN pg_rewrite AS w ON d.objid = w.oid AND d.classid = 'pg_rewrite'::regclass "
        f"LEFT JOIN {lake_schema()}.{OWNED} AS owned ON owned.object_id = w.ev_class "
        f"WHERE d.refobjid = '{relation}'::regclass AND w.ev_class <> d.refobjid "
        f"AND (owned.object_id IS NOT NULL) = {ours} ORDER BY 1"
    )
    return [name for (name,) in cursor.fetchall()]
