"""Rules that columns of several tables share. This module names no table."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.base import Outcome, named_rule, polars_schema
from orders_lakehouse.contracts.codes import COUNTRIES as COUNTRY_LIST
from orders_lakehouse.contracts.codes import CURRENCIES as CURRENCY_LIST
from orders_lakehouse.contracts.codes import currencies_with
from orders_lakehouse.encoding import BAD_BYTE

# Marker of a bad byte, in upper or lower case, because cleansing may have changed the case.
_BAD_BYTE = re.escape(BAD_BYTE[:-1]) + r"[xX][0-9a-fA-F]{2}"
# Text columns without text of the row: added later, or taken from the order, whose own rules judge it.
_NOT_OF_THE_ROW = {"warnings", "order_state", "order_currency"}
_IN_1900 = datetime(1900, 1, 1, tzinfo=UTC)
# White space around a key, and invisible characters within it: control and format characters, and every space except
# the usual one.
_UNSEEN = r"^\s|\s$|[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]|[\x{00A0}\x{1680}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}]"

COUNTRIES, CURRENCIES = tuple(COUNTRY_LIST), tuple(CURRENCY_LIST)
# Metadata of a column of currencies; ISO_4217 adds the reason for columns that are judged in a cleansed table.
IN_ISO_4217 = {"demand": "an ISO 4217 code", "codes": "currencies"}
ISO_4217 = {"reason": "currency_not_iso_4217", **IN_ISO_4217}
# Metadata of a column of countries, whose invalid values become null.
ISO_3166 = {
    "reason": "country_code_not_iso_3166",
    "demand": "null or an ISO 3166-1 alpha-2 code",
    "codes": "countries",
    "outcome": "blank",
}
# Pattern of a text that is not blank.
NOT_BLANK = r"^\s*\S"


def present(column: str) -> dict[str, str]:
    """Return metadata of a key that must be present and not blank."""
    return {"reason": f"{column}_missing", "demand": "present and not blank"}


def has_happened(column: str) -> nw.Expr:
    """Return whether an instant lies between 1900 and the row's change, with a day of grace for clocks that differ."""
    return (nw.col(column) >= nw.lit(_IN_1900)) & (nw.col(column) <= nw.col("updated_at").dt.offset_by("24h"))


def has_decimals(column: str, most: int) -> nw.Expr:
    """Return whether a decimal has at most a number of decimals, not counting zeros at its end."""
    return nw.col(column) == nw.col(column).round(most)


def within(column: str, kind: tuple[int, int]) -> nw.Expr:
    """Return whether a decimal has no more digits before its point than a precision and scale allow."""
    limit = Decimal(10) ** (kind[0] - kind[1])
    return nw.col(column).is_between(nw.lit(-limit), nw.lit(limit), closed="none")


def too_precise(
    column: str, scale: int, currency: str | None = None, *, outcome: Outcome = "reject", blanks: Sequence[str] = ()
) -> Any:
    """Make the rule `<column>_too_precise`: at most the decimals of the column, or of its currency.

    Args:
        column: A decimal column.
        scale: Decimals that it holds.
        currency: Column of the currency; None where the number is no amount.
        outcome: Consequence for a row that breaks the rule.
        blanks: Columns that become null where the outcome is `blank`.
    """
    if currency is None:
        valid = has_decimals(column, scale)
        description = f"{column} has at most {scale} decimals."
    else:
        code = nw.col(currency)
        few, many = code.is_in(currencies_with(0)), code.is_in(currencies_with(3))
        most = code.is_in(currencies_with(4)) | code.is_null()
        valid = (
            nw.when(few)
            .then(has_decimals(column, 0))
            .otherwise(
                has_decimals(column, 2) | (many & has_decimals(column, 3)) | (most & has_decimals(column, scale))
            )
        )
        description = f"{column} has no more decimals than the minor unit of its currency."
    return named_rule(f"{column}_too_precise", description, valid, outcome=outcome, blanks=blanks)


def out_of_range(
    column: str, number: tuple[int, int], *, outcome: Outcome = "reject", blanks: Sequence[str] = ()
) -> Any:
    """Make the rule `<column>_out_of_range`: a finite number with at most the digits of the column."""
    digits = number[0] - number[1]
    return named_rule(
        f"{column}_out_of_range",
        f"{column} is a number of at most {digits} digits before the decimal point.",
        within(column, number),
        outcome=outcome,
        blanks=blanks,
    )


def no_unseen_characters(column: str) -> Any:
    """Make the rule `<column>_has_unseen_characters`, which warns, because such a key looks like another one."""
    return named_rule(
        f"{column}_has_unseen_characters",
        f"{column} has no white space around it and no character in it that nobody sees.",
        ~nw.col(column).str.contains(_UNSEEN),
        outcome="warn",
    )


def without_bad_bytes(model: Any) -> nw.Expr:
    """Return whether no text of a row has a byte that is invalid in the source's encoding."""
    texts = [name for name, dtype in polars_schema(model).items() if dtype == pl.String and name not in _NOT_OF_THE_ROW]
    # A regular expression that begins with a literal is as fast as a search for that literal.
    return ~nw.any_horizontal(*(nw.col(name).str.contains(_BAD_BYTE) for name in texts), ignore_nulls=True)
