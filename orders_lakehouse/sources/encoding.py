"""Text of a shop whose database does not know its encoding: bytes become text here, and bad bytes are marked.

A database in SQL_ASCII stores bytes as they came and converts nothing. Its text is read as bytes, is UTF-8 as a rule,
and may be anything. Every other database converts its text to the client's encoding, which is UTF-8.
"""

import re
from typing import TYPE_CHECKING

import polars as pl
from polars.exceptions import ComputeError

from orders_lakehouse.contracts.raw import BAD_BYTE
from orders_lakehouse.postgres import value_of

if TYPE_CHECKING:
    from adbc_driver_manager.dbapi import Cursor

# Python decodes the bytes 80 to ff, where they are no UTF-8, to these code points, which no text has.
_ESCAPED = re.compile("[\udc80-\udcff]")
# Postgres refuses this byte in text.
_BETWEEN = b"\0"


def holds_bytes(cursor: "Cursor") -> bool:
    """Whether a database stores text as bytes of an encoding that it does not know."""
    return bool(value_of(cursor, "SELECT current_setting('server_encoding')") == "SQL_ASCII")


def as_bytes(text: str) -> str:
    """A text of such a database as the bytes that it is: for the client's encoding, the server would refuse some."""
    return f"convert_to({text}, 'SQL_ASCII')"


def decoded(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with the text of each binary column, decoded as `text_of` does."""
    return rows.with_columns(text_of(column) for column in rows if column.dtype == pl.Binary)


def text_of(values: pl.Series) -> pl.Series:
    """The text of bytes that are UTF-8, as a rule.

    Args:
        values: Bytes, none of them zero; nulls stay nulls.

    Returns:
        Text. A byte that belongs to no UTF-8 becomes `BAD_BYTE` and its two hexadecimal digits.
    """
    try:
        return values.cast(pl.String)
    except ComputeError:
        # Polars does not say which values are none.
        there = values.is_not_null()
        joined = _BETWEEN.join(values.filter(there).to_list()).decode("utf-8", "surrogateescape")
        marked = _ESCAPED.sub(lambda found: f"{BAD_BYTE}{ord(found[0]) - 0xDC00:02x}", joined)
        text = pl.Series(marked.split(_BETWEEN.decode()), dtype=pl.String)
        # Where each value stood among the nulls.
        place = pl.select(pl.when(there).then(there.cum_sum() - 1)).to_series()
        return text.gather(place).alias(values.name)
