"""Clean single columns: text, numbers that arrive as text, dates by the lake's calendar."""

from collections.abc import Mapping
from datetime import date

import narwhals as nw
import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.types import Frame


def trimmed(column: str) -> nw.Expr:
    """Return text without surrounding white space; empty becomes null."""
    text = nw.col(column).str.strip_chars()
    return nw.when(text != "").then(text).alias(column)


def key_or_null(column: str) -> nw.Expr:
    """Return a foreign key as the source has it (never trimmed or re-cased); blank becomes null."""
    return nw.when(nw.col(column).str.strip_chars() != "").then(nw.col(column)).alias(column)


def upper(column: str) -> nw.Expr:
    """Return trimmed text in upper case, for codes."""
    return trimmed(column).str.to_uppercase().alias(column)


def lower(column: str) -> nw.Expr:
    """Return trimmed text in lower case."""
    return trimmed(column).str.to_lowercase().alias(column)


def without_alias(column: str, aliases: Mapping[str, str]) -> nw.Expr:
    """Replace aliases that shops use for a code by that code.

    Args:
        column: A column of codes in upper case. It must not be an expression: the result contains it once for each
            alias, and an engine would compute it each time.
        aliases: Code by alias.
    """
    code = alias_or_code = nw.col(column)
    for alias, meaning in aliases.items():
        code = nw.when(alias_or_code == alias).then(nw.lit(meaning)).otherwise(code)
    return code.alias(column)


def number(column: str, kind: tuple[int, int]) -> nw.Expr:
    """Parse a number that arrived as text, exactly, or mark it as unusable; it is never rounded.

    Args:
        column: Text, as `numeric` prints it.
        kind: Precision and scale of the column that will hold it.

    Returns:
        Decimal(precision + 2, scale + 1). It can hold two marks that the final column cannot. The smallest number
        beyond its scale marks a text with too many decimals (rule `<column>_too_precise`). The smallest number beyond
        its digits marks any other unusable text: NaN, infinity, too many digits (rule `<column>_out_of_range`). Null
        stays null.
    """
    precision, scale = kind
    digits, text = precision - scale, nw.col(column)
    exact = text.str.contains(rf"^-?[0-9]{{1,{digits}}}(\.[0-9]{{0,{scale}}}0*)?$")
    is_longer = text.str.contains(rf"^-?[0-9]{{1,{digits}}}\.[0-9]+$")
    mark = nw.when(is_longer).then(nw.lit(f"0.{'0' * scale}1")).otherwise(nw.lit(f"1{'0' * digits}"))
    readable = nw.when(exact).then(text).otherwise(nw.when(~text.is_null()).then(mark))
    return readable.cast(nw.Decimal(precision + 2, scale + 1)).alias(column)


def integer(column: str) -> nw.Expr:
    """Return a 64-bit integer in 32 bits; null where it does not fit."""
    number = nw.col(column)
    return nw.when(number.is_between(-(2**31), 2**31 - 1)).then(number).cast(nw.Int32).alias(column)


def with_local_date(rows: Frame, name: str, column: str, calendar: Calendar) -> Frame:
    """Add the date of an instant.

    The instant's date in UTC is joined with the local dates that begin within it, so that no engine needs time zone
    data.

    Args:
        rows: Rows with the instant.
        name: Name of the date.
        column: The instant in UTC; on Spark, in a session of UTC.
        calendar: When dates begin.
    """
    utc_date = nw.col(column).dt.date()
    if calendar.is_utc:
        return rows.with_columns(utc_date.alias(name))
    cuts = _on_engine_of(rows, calendar.cuts)
    joined = rows.with_columns(utc_date=utc_date).join(cuts, on="utc_date", how="left")
    # An instant outside of the calendar has no row to join.
    local = nw.coalesce("local_date_0", "utc_date")
    for number in range(1, calendar.cuts.width // 2):
        has_begun = nw.col(column) >= nw.col(f"cut_{number}")
        local = nw.when(has_begun).then(nw.col(f"local_date_{number}")).otherwise(local)
    return joined.with_columns(local.alias(name)).drop(calendar.cuts.columns)


def _on_engine_of(rows: Frame, few: pl.DataFrame) -> Frame:
    """Return a small frame on the engine of another one, in the same session if the engine has sessions."""
    session = getattr(nw.to_native(rows), "sparkSession", None)
    return nw.from_native(few).lazy(rows.implementation, session=session)


def days_between(column: str, until: date) -> nw.Expr:
    """Return the days from a date column to a date, as an integer.

    They are computed from the proleptic Gregorian ordinal (`date.toordinal`), because engines subtract dates
    differently.
    """
    years_before = nw.col(column).dt.year().cast(nw.Int64) - 1
    leap_days = years_before // 4 - years_before // 100 + years_before // 400
    ordinal = years_before * 365 + leap_days + nw.col(column).dt.ordinal_day().cast(nw.Int64)
    return nw.lit(until.toordinal()) - ordinal
