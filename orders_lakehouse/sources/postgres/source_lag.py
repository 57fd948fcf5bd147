"""What the shop has changed and raw does not have yet, by the shop's own clock."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.registry import ENTITIES
from orders_lakehouse.errors import ExpectedError
from orders_lakehouse.postgres.connections import connect, read_alone, value_of
from orders_lakehouse.sources.postgres.columns import SCHEMA, columns_of, require_readable
from orders_lakehouse.sources.watermark import newest_change
from orders_lakehouse.tables import RAW, ROOT


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


@dataclass(frozen=True)
class ChangedLater:
    """Orders of some dates that are captured with later dates.

    Attributes:
        orders: How many.
        until: The last date on which one of them changed.
    """

    orders: int
    until: date


def changed_later(lake: Lake, calendar: Calendar, first: date, last: date) -> ChangedLater | None:
    """The orders of some dates that a capture of these dates leaves out, because they changed later.

    Args:
        lake: The lake.
        calendar: When dates begin.
        first: First date.
        last: Last date.

    Returns:
        None where there are none, or where later dates have been captured before.

    Raises:
        DatabaseError: The shop refuses the user, or orders are not as raw needs them.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    handle = find(lake, ROOT.raw)
    newest = files_of(handle, ROOT.raw)["date"].max() if handle is not None else None
    if isinstance(newest, date) and newest > last:
        return None
    begins, ends = (calendar.begins_at(day).isoformat() for day in (first, last + timedelta(days=1)))
    with connect("shop") as connection, connection.cursor() as cursor:
        require_readable(cursor, ROOT.raw, columns_of(cursor, [ROOT.raw])[ROOT.raw.name])
        cursor.execute(
            f'SELECT count(*), least(max(updated_at), now()) FROM {SCHEMA}."{ROOT.name}" '
            f"WHERE updated_at >= '{ends}' AND {ROOT.clock} >= '{begins}' AND {ROOT.clock} < '{ends}'"
        )
        orders, until = cursor.fetchall()[0]
    return ChangedLater(orders, calendar.date_of(until)) if orders else None


def first_and_last_change(calendar: Calendar) -> tuple[date, date] | None:
    """The first and the last date on which anything changed in the shop, or was ordered there; None in an empty shop.

    Of what changed before the first partition, that is the first partition; of a clock that runs ahead, today.

    Args:
        calendar: First partition, and when dates begin.

    Raises:
        DatabaseError: The shop refuses the user, or a table is not as raw needs it.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    ends: list[datetime] = []
    with connect("shop") as connection, connection.cursor() as cursor:
        offered = columns_of(cursor, RAW)
        for entity in ENTITIES:
            table = entity.raw
            require_readable(cursor, table, offered[table.name])
            clocks = ["updated_at", *([entity.clock] if entity.clock else [])]
            for clock in clocks:
                # Infinity is no date, and nothing is captured after today.
                both = (f"least(greatest({end}({clock}), '0001-01-01'), now())" for end in ("min", "max"))
                cursor.execute(f'SELECT {", ".join(both)} FROM {SCHEMA}."{table.name}" HAVING max({clock}) IS NOT NULL')
                ends += [instant for row in cursor.fetchall() for instant in row]
    if not ends:
        return None
    first, last = (max(calendar.date_of(instant), calendar.start) for instant in (min(ends), max(ends)))
    return first, last


def orders_in_shop(order_ids: Sequence[str], calendar: Calendar) -> dict[str, date]:
    """The orders of some that the shop has, and the capture date of each: that of its change clock.

    Raises:
        DatabaseError: The shop refuses the user, or orders are not as raw needs them.
        DatabaseUnavailableError: The shop cannot be reached.
    """
    with connect("shop") as connection, connection.cursor() as cursor:
        require_readable(cursor, ROOT.raw, columns_of(cursor, [ROOT.raw])[ROOT.raw.name])
        cursor.execute(
            f"SELECT {ROOT.key[0]}::text, least(max(updated_at), now()) "
            f'FROM {SCHEMA}."{ROOT.name}" WHERE {ROOT.key[0]}::text = ANY($1) GROUP BY 1',
            [list(order_ids)],
        )
        return {order_id: max(calendar.date_of(at), calendar.start) for order_id, at in cursor.fetchall()}


def shop_now() -> datetime:
    """The shop's own now().

    Raises:
        DatabaseUnavailableError: The shop cannot be reached.
    """
    with connect("shop") as connection, connection.cursor() as cursor:
        now: datetime = value_of(cursor, "SELECT now()")
        return now
