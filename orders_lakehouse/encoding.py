"""Decode bytes that should be text in some encoding, and mark invalid bytes."""

import re
from contextlib import suppress

import polars as pl
from polars.exceptions import ComputeError

# Mark before the two hexadecimal digits of an invalid byte. Text with this mark is captured, and a rule rejects it.
BAD_BYTE = "\ufffd\\x"

UTF8 = "utf-8"
# Code points to which Python decodes invalid bytes from 80 to ff; no valid text has them.
_ESCAPED = re.compile("[\udc80-\udcff]")
# Separator between values. Postgres refuses this byte in text, so no value has it.
_BETWEEN = b"\0"


def decoded(rows: pl.DataFrame, codec: str = UTF8) -> pl.DataFrame:
    """Return rows with each binary column decoded as `text_of` does."""
    return rows.with_columns(text_of(column, codec) for column in rows if column.dtype == pl.Binary)


def text_of(values: pl.Series, codec: str = UTF8) -> pl.Series:
    """Decode bytes in an encoding.

    Args:
        values: Bytes without zero bytes; nulls stay nulls.
        codec: Python's name of an encoding that contains ASCII.

    Returns:
        Text. An invalid byte becomes `BAD_BYTE` and its two hexadecimal digits.
    """
    with suppress(ComputeError):
        text = values.cast(pl.String)
        # Most columns are ASCII, which is the same in every encoding.
        if codec == UTF8 or text.str.len_bytes().sum() == text.str.len_chars().sum():
            return text
    # Python decodes the rest: Polars knows no other encoding, and does not say which values are invalid UTF-8.
    is_present = values.is_not_null()
    joined = _BETWEEN.join(values.filter(is_present).to_list()).decode(codec, "surrogateescape")
    marked = _ESCAPED.sub(lambda match: f"{BAD_BYTE}{ord(match[0]) - 0xDC00:02x}", joined)
    text = pl.Series(marked.split(_BETWEEN.decode()), dtype=pl.String)
    # Index of each value in `text`; null for nulls.
    index = pl.select(pl.when(is_present).then(is_present.cum_sum() - 1)).to_series()
    return text.gather(index).alias(values.name)
