"""Check whether each table of the shop can be read, whether its clock is right, and where an index is missing."""

from datetime import timedelta
from typing import TYPE_CHECKING

from orders_lakehouse.contracts.raw import AHEAD_HOURS
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.errors import DatabaseError
from orders_lakehouse.findings import ERROR, WARNING, Examination, Finding
from orders_lakehouse.postgres.clocks import finding_of_skew, skew_of
from orders_lakehouse.postgres.connections import connect, read_alone, value_of
from orders_lakehouse.sources.postgres.changes import WITHOUT_WORKERS, rows_read_without_index
from orders_lakehouse.sources.postgres.columns import SCHEMA, columns_of, is_left_out, require_readable
from orders_lakehouse.tables import RAW

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

# Number of rows up to which a table is read fast enough without an index.
_MANY_ROWS = 20_000
_MEANS = (
    "The shop's clock dates a capture, and this machine's clock decides which dates exist, so the two must agree. If "
    f"the shop is {AHEAD_HOURS} hours ahead, its day is no date here yet, and its changes wait."
)


def examine_shop() -> Examination:
    """Check the shop's tables and clock, and how the newest change of each table is found.

    Raises:
        DatabaseError: The shop refuses the user or the database's name.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    findings = []
    with connect("shop") as connection, connection.cursor() as cursor:
        skew = finding_of_skew("shop", skew_of(cursor), _MEANS, timedelta(hours=AHEAD_HOURS))
        cursor.execute(WITHOUT_WORKERS)
        offered = columns_of(cursor, RAW)
        connection.commit()
        tables = [table for table in RAW if not is_left_out(table, offered[table.name])]
        for table in tables:
            try:
                with read_alone(connection, "shop"):
                    require_readable(cursor, table, offered[table.name])
                    slow = _finding_of_index(cursor, table)
            except DatabaseError as error:
                expected = "a table, or a view, with the columns of its contract that this user may read"
                to_do = "Follow the message; docs/source.md has the script that makes the user."
                findings.append(Finding(ERROR, f"{SCHEMA}.{table.name}", str(error), expected, to_do))
                continue
            findings += [slow] if slow else []
    readable = len(tables) - sum(finding.severity == ERROR for finding in findings)
    summary = f"it answers, {readable} of {len(tables)} tables can be read"
    clock = "its clock is right" if skew is None else "its clock differs"
    return Examination(f"{summary}, {clock}", [*findings, *([skew] if skew else [])])


def _finding_of_index(cursor: "Cursor", table: Table) -> Finding | None:
    """Return a finding if Postgres reads many rows to find the newest change of a table; else None."""
    before = rows_read_without_index(cursor)
    value_of(cursor, f'SELECT max(updated_at) FROM {SCHEMA}."{table.name}"')
    read = rows_read_without_index(cursor) - before
    if read <= _MANY_ROWS:
        return None
    return Finding(
        WARNING,
        f"{SCHEMA}.{table.name}",
        f"{read:,} rows were read to find its newest change",
        "an index on updated_at, or on the column from which a view makes it",
        "The sensor reads the table less often, so its changes come late. docs/source.md says where the index of a "
        "view belongs. The index of a table, in the shop:",
        [f"CREATE INDEX CONCURRENTLY ON {SCHEMA}.{table.name} (updated_at)"],
    )
