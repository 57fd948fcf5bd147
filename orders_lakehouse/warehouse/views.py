"""Find the staging views of dbt that a build must make: those that are missing, or whose definition has changed."""

import hashlib
from collections.abc import Collection

from orders_lakehouse.postgres.connections import connect
from orders_lakehouse.settings import DBT_PROJECT, settings
from orders_lakehouse.warehouse.copies import lake_schema
from orders_lakehouse.warehouse.load import make_table_of_versions
from orders_lakehouse.warehouse.ownership import LOADED, require_ours

_STAGING = DBT_PROJECT / "models" / "staging"


def stale_views(names: Collection[str]) -> list[str]:
    """Return the staging views that are missing, or that were not made of the project's present files.

    Like a load, it makes the lakehouse's schemas, and refuses a warehouse where others have objects under our names.

    Args:
        names: Names of the views to look for.

    Raises:
        DatabaseError: The warehouse refuses a statement.
        DatabaseUnavailableError: The warehouse cannot be reached.
    """
    with connect("warehouse") as connection, connection.cursor() as cursor:
        require_ours(cursor)
        make_table_of_versions(cursor)
        connection.commit()
        cursor.execute(
            f"SELECT relname, delta_id FROM pg_class INNER JOIN {lake_schema()}.{LOADED} ON table_name = relname "
            f"WHERE relkind = 'v' AND relnamespace = to_regnamespace('{settings().staging_schema}')"
        )
        made = dict(cursor.fetchall())
    return sorted(name for name in names if made.get(name) != _definition_of(name))


def record_views(names: Collection[str]) -> None:
    """Record that staging views were made of the project's present files.

    Raises:
        DatabaseError: The warehouse refuses a statement.
        DatabaseUnavailableError: The warehouse cannot be reached.
    """
    with connect("warehouse") as connection, connection.cursor() as cursor:
        for name in names:
            version = f"'{name}', '{_definition_of(name)}', 0, clock_timestamp()"
            cursor.execute(
                f"INSERT INTO {lake_schema()}.{LOADED} VALUES ({version}) "
                "ON CONFLICT (table_name) DO UPDATE SET delta_id = excluded.delta_id, loaded_at = excluded.loaded_at"
            )
        connection.commit()


def _definition_of(name: str) -> str:
    """Return a hash of everything that a view is made of: its file, dbt's macros and settings, and the schemas."""
    files = [_STAGING / f"{name}.sql", *sorted((DBT_PROJECT / "macros").glob("*.sql")), DBT_PROJECT / "dbt_project.yml"]
    schemas = f"{settings().lake_schema} {settings().staging_schema}".encode()
    return hashlib.sha256(b"\0".join([schemas, *(file.read_bytes() for file in files)])).hexdigest()
