"""Bytes that should be text in UTF-8, and are not always: they become text here, and bad bytes are marked."""

import re

import polars as pl
from polars.exceptions import ComputeError

# What stands in text before the two hexadecimal digits of a byte that is no UTF-8: such text is captured, and rejected.
BAD_BYTE = "\ufffd\\x"

# Python decodes the bytes 80 to ff, where they are no UTF-8, to these code points, which no text has.
_ESCAPED = re.compile("[\udc80-\udcff]")
# Postgres refuses this byte in text.
_BETWEEN = b"\0"


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
