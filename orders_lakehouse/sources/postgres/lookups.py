"""Queries to the shop's Postgres that an index on each table answers."""

from collections.abc import Callable, Sequence
from datetime import datetime

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.entities.base import Entity
from orders_lakehouse.entities.registry import ENTITIES
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.postgres.connections import connect, read_alone, value_of
from orders_lakehouse.sources.base import Newer
from orders_lakehouse.sources.postgres.columns import SCHEMA, columns_of, is_left_out, require_readable
from orders_lakehouse.tables import RAW


def newer(known: Callable[[Table, datetime], datetime | None]) -> tuple[dict[str, Newer], dict[str, str]]:
    """Return the rows that changed after the newest known change; see `Source.newer`.

    A clock ahead of the shop's own now() does not count until its time has come. Otherwise it would hide rows that are
    not captured, and report a new change as late.
    """
    newer_rows: dict[str, Newer] = {}
    refused: dict[str, str] = {}
    with connect("shop") as connection, connection.cursor() as cursor:
        now: datetime = value_of(cursor, "SELECT now()")
        until = f"updated_at <= '{now.isoformat()}'"
        offered = columns_of(cursor, RAW)
        connection.commit()
        for table in (table for table in RAW if not is_left_out(table, offered[table.name])):
            since = known(table, now)
            after = f"updated_at > '{since.isoformat()}'" if since else "true"
            try:
                with read_alone(connection, "shop"):
                    require_readable(cursor, table, offered[table.name])
                    cursor.execute(
                        f"SELECT count(*), greatest(min(updated_at), '0001-01-01'), max(updated_at) "
                        f'FROM {SCHEMA}."{table.name}" WHERE {until} AND {after}'
                    )
                    newer_rows[table.name] = Newer(*cursor.fetchall()[0])
            except ExpectedError as error:
                refused[table.name] = str(error)
    return newer_rows, refused


def first_and_last_change() -> tuple[datetime, datetime] | None:
    """Return the first and the last instant of all change clocks and own dates of rows; None in an empty shop."""
    ends: list[datetime] = []
    with connect("shop") as connection, connection.cursor() as cursor:
        offered = columns_of(cursor, RAW)
        for entity in (entity for entity in ENTITIES if not is_left_out(entity.raw, offered[entity.name])):
            require_readable(cursor, entity.raw, offered[entity.name])
            for clock in ["updated_at", *([entity.clock] if entity.clock else [])]:
                # The bounds exclude infinity and the future, because nothing is captured after today.
                both = (f"least(greatest({end}({clock}), '0001-01-01'), now())" for end in ("min", "max"))
                cursor.execute(
                    f'SELECT {", ".join(both)} FROM {SCHEMA}."{entity.name}" HAVING max({clock}) IS NOT NULL'
                )
                ends += [instant for row in cursor.fetchall() for instant in row]
    return (min(ends), max(ends)) if ends else None


def changed_after(entity: Entity, begins: datetime, ends: datetime) -> tuple[int, datetime | None]:
    """Count the rows dated in an interval that changed after it; return their number and the last change."""
    with connect("shop") as connection, connection.cursor() as cursor:
        require_readable(cursor, entity.raw, columns_of(cursor, [entity.raw])[entity.name])
        cursor.execute(
            f'SELECT count(*), least(max(updated_at), now()) FROM {SCHEMA}."{entity.name}" '
            f"WHERE updated_at >= '{ends.isoformat()}' "
            f"AND {entity.clock} >= '{begins.isoformat()}' AND {entity.clock} < '{ends.isoformat()}'"
        )
        rows, until = cursor.fetchall()[0]
    return rows, until if rows else None


def clocks_of(entity: Entity, keys: Sequence[str]) -> dict[str, datetime]:
    """Return the change clocks of rows by key as text; keys that the shop lacks are left out."""
    key = f'"{entity.key[0]}"::text'
    with connect("shop") as connection, connection.cursor() as cursor:
        require_readable(cursor, entity.raw, columns_of(cursor, [entity.raw])[entity.name])
        cursor.execute(
            f"SELECT {key}, least(max(updated_at), now()) "
            f'FROM {SCHEMA}."{entity.name}" WHERE {key} = ANY($1) GROUP BY 1',
            [list(keys)],
        )
        return dict(cursor.fetchall())


def now() -> datetime:
    """Return the instant of the shop's clock."""
    with connect("shop") as connection, connection.cursor() as cursor:
        instant: datetime = value_of(cursor, "SELECT now()")
        return instant
