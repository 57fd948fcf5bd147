"""Bytes that should be text in some encoding, and are not always: they become text here, and bad bytes are marked."""

import re
from contextlib import suppress

import polars as pl
from polars.exceptions import ComputeError

# What stands in text before the two hexadecimal digits of a byte that is none: such text is captured, and rejected.
BAD_BYTE = "\ufffd\\x"

UTF8 = "utf-8"
# Python decodes the bytes 80 to ff, where they mean nothing, to these code points, which no text has.
_ESCAPED = re.compile("[\udc80-\udcff]")
# Postgres refuses this byte in text.
_BETWEEN = b"\0"


def decoded(rows: pl.DataFrame, codec: str = UTF8) -> pl.DataFrame:
    """Rows with the text of each binary column, decoded as `text_of` does."""
    return rows.with_columns(text_of(column, codec) for column in rows if column.dtype == pl.Binary)


def text_of(values: pl.Series, codec: str = UTF8) -> pl.Series:
    """The text of bytes in an encoding.

    Args:
        values: Bytes, none of them zero; nulls stay nulls.
        codec: Python's name of the encoding, in which the first 128 bytes are those of ASCII.

    Returns:
        Text. A byte that means nothing in the encoding becomes `BAD_BYTE` and its two hexadecimal digits.
    """
    with suppress(ComputeError):
        text = values.cast(pl.String)
        # Most columns are ASCII, which is the same in every encoding.
        if codec == UTF8 or text.str.len_bytes().sum() == text.str.len_chars().sum():
            return text
    # Polars knows no other encoding, and does not say which values are no UTF-8.
    there = values.is_not_null()
    joined = _BETWEEN.join(values.filter(there).to_list()).decode(codec, "surrogateescape")
    marked = _ESCAPED.sub(lambda found: f"{BAD_BYTE}{ord(found[0]) - 0xDC00:02x}", joined)
    text = pl.Series(marked.split(_BETWEEN.decode()), dtype=pl.String)
    # Where each value stood among the nulls.
    place = pl.select(pl.when(there).then(there.cum_sum() - 1)).to_series()
    return text.gather(place).alias(values.name)
