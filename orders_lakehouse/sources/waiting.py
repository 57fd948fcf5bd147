"""What the shop has changed and raw does not have yet, by the shop's own clock."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from orders_lakehouse.contracts.tables import RAW
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.lake.clock import newest_change
from orders_lakehouse.lake.delta import Lake
from orders_lakehouse.postgres import connect, read_alone, value_of
from orders_lakehouse.sources.shop_columns import SCHEMA, columns_of, require_readable


@dataclass(frozen=True)
class Uncaptured:
    """Changes that are newer than the newest one in raw.

    Attributes:
        rows: How many rows of the shop have one, by table; tables without any are not named.
        behind: From the first of them to the shop's newest change. A shop that has ended grows no older.
        refused: Why a table could not be looked at, by table; the others are counted all the same.
    """

    rows: dict[str, int]
    behind: timedelta
    refused: dict[str, str] = field(default_factory=dict)


def uncaptured(lake: Lake) -> Uncaptured:
    """Compare the change clocks of the shop with those of raw; an index of each table has the answer.

    A clock ahead of the shop's own now() counts on neither side until its time has come: it would hide what is not
    captured, and make late what has just been changed.

    Raises:
        DatabaseError: The shop refuses the user or the database's name.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    rows: dict[str, int] = {}
    refused: dict[str, str] = {}
    first: list[datetime] = []
    newest: list[datetime] = []
    with connect("shop") as connection, connection.cursor() as cursor:
        now: datetime = value_of(cursor, "SELECT now()")
        until = f"updated_at <= '{now.isoformat()}'"
        offered = columns_of(cursor, RAW)
        connection.commit()
        for table in RAW:
            known = newest_change(lake, table, now)
            newer = f"updated_at > '{known.isoformat()}'" if known else "true"
            try:
                with read_alone(connection, "shop"):
                    require_readable(cursor, table, offered[table.name])
                    cursor.execute(
                        f"SELECT count(*), greatest(min(updated_at), '0001-01-01'), max(updated_at) "
                        f'FROM {SCHEMA}."{table.name}" WHERE {until} AND {newer}'
                    )
                    count, since, last = cursor.fetchall()[0]
            except ExpectedError as error:
                refused[table.name] = str(error)
                continue
            if count:
                rows[table.name] = count
                first.append(since)
            newest += [instant for instant in (known, last) if instant is not None]
    return Uncaptured(rows, max(newest) - min(first) if first else timedelta(), refused)


def shop_now() -> datetime:
    """The shop's own now().

    Raises:
        DatabaseUnavailableError: The shop cannot be reached.
    """
    with connect("shop") as connection, connection.cursor() as cursor:
        now: datetime = value_of(cursor, "SELECT now()")
        return now
