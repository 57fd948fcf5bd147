"""Whether the shop can be read, table by table, and what its clock says."""

from datetime import timedelta

from orders_lakehouse.clocks import finding_of_skew, skew_of
from orders_lakehouse.contracts.raw import AHEAD_HOURS
from orders_lakehouse.contracts.tables import RAW
from orders_lakehouse.errors import DatabaseError
from orders_lakehouse.findings import ERROR, Finding, Looked
from orders_lakehouse.postgres import connect
from orders_lakehouse.sources.shop_columns import SCHEMA, columns_of, require_readable

_MEANS = (
    "A capture goes by the shop's clock, and which dates there are by this machine's, so that instants of the two do "
    f"not compare; from {AHEAD_HOURS} hours on, the shop's day is no date here yet, and its changes wait."
)


def look_at_shop() -> Looked:
    """Ask the shop for its tables and its clock; no row is read.

    Raises:
        DatabaseError: The shop refuses the user or the database's name.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    findings = []
    with connect("shop") as connection, connection.cursor() as cursor:
        skew = finding_of_skew("shop", skew_of(cursor), _MEANS, timedelta(hours=AHEAD_HOURS))
        offered = columns_of(cursor, RAW)
        for table in RAW:
            try:
                require_readable(cursor, table, offered[table.name])
            except DatabaseError as error:
                expected = "a table, or a view, with the columns of its contract that this user may read"
                to_do = "As it says; docs/source.md has the script that makes the user."
                findings.append(Finding(ERROR, f"{SCHEMA}.{table.name}", str(error), expected, to_do))
    said = f"it answers, {len(RAW) - len(findings)} of {len(RAW)} tables can be read"
    clock = "its clock is right" if skew is None else "its clock is another one"
    return Looked(f"{said}, {clock}", [*findings, *([skew] if skew else [])])
