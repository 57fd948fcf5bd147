"""Write rows to the warehouse, and name the value that its encoding cannot hold, once the server has refused one."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import polars as pl

from orders_lakehouse.contracts.waivers import KEY_SEPARATOR
from orders_lakehouse.postgres.connections import DatabaseError, connect, value_of

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

# SQLSTATE of a character without an equivalent in the server's encoding, and of bytes that no encoding has in text.
_NOT_REPRESENTED = ("22P05", "22021")
# Bytes of the character in the server's message, which is the same in every language.
_BYTES = re.compile(r"(?:0x[0-9a-f]{2}\s?)+")


def ingest(cursor: "Cursor", target: str, rows: pl.DataFrame, key: Sequence[str], **how: Any) -> None:
    """Write rows to a table of the warehouse.

    Args:
        cursor: Cursor of a connection to the warehouse.
        target: Name of the table.
        rows: The rows.
        key: Columns with which a message names a row.
        how: Further arguments of ADBC's `adbc_ingest`.

    Raises:
        DatabaseError: The warehouse's encoding does not have a character of the rows.
    """
    from adbc_driver_manager import Error

    try:
        cursor.adbc_ingest(target, rows.to_arrow(), **how)
    except Error as error:
        refused = _character(str(error)) if error.sqlstate in _NOT_REPRESENTED else None
        if refused is None:
            raise
        raise DatabaseError(_explained(refused, rows, key, _full_name(target, **how))) from error


def _character(message: str) -> str | None:
    match = _BYTES.search(message)
    if match is None:
        return None
    sequence = bytes(int(byte, 16) for byte in match[0].split())
    return sequence.decode("utf-8", "replace")


def _full_name(target: str, db_schema_name: str = "", **_: Any) -> str:
    return f"{db_schema_name}.{target}" if db_schema_name else target


def _explained(character: str, rows: pl.DataFrame, key: Sequence[str], target: str) -> str:
    with connect("warehouse") as connection, connection.cursor() as cursor:
        encoding = value_of(cursor, "SELECT current_setting('server_encoding')")
    named = f"{character!r} ({', '.join(f'U+{ord(part):04X}' for part in character)})"
    texts = (name for name, dtype in rows.schema.items() if dtype == pl.String)
    holding = ((name, rows.filter(pl.col(name).str.contains(character, literal=True)).head(1)) for name in texts)
    column, row = next(((name, matches) for name, matches in holding if matches.height), (None, rows.head(0)))
    where = "some row: it"
    if column is not None:
        where = f"the row {KEY_SEPARATOR.join(str(row[name][0]) for name in key)}: its column {column}"
    return (
        f"{target} of the warehouse, whose encoding is {encoding}, cannot hold {where} has {named}. Expected "
        f"only characters of {encoding}. Make a database with ENCODING 'UTF8', name it in WAREHOUSE_DATABASE_URL, and "
        "backfill; or correct the value in the shop and run its date."
    )
