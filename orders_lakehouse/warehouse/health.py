"""Check whether the warehouse works and its clock is right; list the versions of the lake that its copies hold."""

from collections.abc import Sequence

from orders_lakehouse.delta.lost_versions import RememberedVersion
from orders_lakehouse.findings import Examination
from orders_lakehouse.postgres.clocks import finding_of_skew, skew_of
from orders_lakehouse.postgres.connections import connect, value_of
from orders_lakehouse.settings import settings
from orders_lakehouse.warehouse.copies import COPIES, lake_schema
from orders_lakehouse.warehouse.ownership import LOADED

_MEANS = "Its clock dates the versions that copies hold, so a lost version may go unnoticed."


def examine_warehouse() -> Examination:
    """Check the warehouse's marts and clock; no row is read.

    Raises:
        DatabaseError: The warehouse refuses the user or the database's name.
        DatabaseUnavailableError: The warehouse cannot be reached.
    """
    with connect("warehouse") as connection, connection.cursor() as cursor:
        skew = finding_of_skew("warehouse", skew_of(cursor), _MEANS)
        marts = value_of(
            cursor,
            "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm') "
            f"AND relnamespace = to_regnamespace('{settings().marts_schema}')",
        )
    clock = "its clock is right" if skew is None else "its clock differs"
    return Examination(f"it answers, with {marts} tables in {settings().marts_schema}, {clock}", [skew] if skew else [])


def remembered_by_copies() -> Sequence[RememberedVersion]:
    """Return the versions that the copies hold, and since when; none if nothing was loaded.

    Raises:
        DatabaseError: The warehouse refuses the user or the database's name.
        DatabaseUnavailableError: The warehouse cannot be reached.
    """
    with connect("warehouse") as connection, connection.cursor() as cursor:
        if value_of(cursor, f"SELECT to_regclass('{lake_schema()}.{LOADED}')::text") is None:
            return []
        cursor.execute(f"SELECT table_name, delta_id, delta_version, loaded_at FROM {lake_schema()}.{LOADED}")
        held = {name: (table_id, version, at) for name, table_id, version, at in cursor.fetchall()}
    versions = []
    for copy in COPIES:
        if copy.name in held:
            table_id, version, at = held[copy.name]
            by = f"the warehouse's {lake_schema()}.{copy.name}"
            versions.append(RememberedVersion(by, at, copy.table.path, version, table_id, copy=copy.name))
    return versions
