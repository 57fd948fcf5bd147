"""Split judged rows into those that hold their contract and those that do not, with every reason.

A rule can be waived for a row (`contracts/waivers.py`); a waived rule is no reason. A rule that does not reject a row
(`Rule.outcome`) adds its name to `warnings`, and sets the columns that it blanks to null.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import reduce
from operator import or_

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.base import Outcome, Rule, contract_version, rules_of
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.contracts.waivers import KEY_SEPARATOR, Waiver

_ORIGINAL = "original__"
_IS_REJECTED, _BROKEN = "is_rejected__", "broken__"
# Separator of the names in `reasons` and in `warnings`.
SEPARATOR = ", "
# Rules that apply to tombstones, too. A deletion whose clock ran ahead would stay the newest version until then; a
# deletion that the source offers together with another row of its key may be wrong.
_EVEN_OF_TOMBSTONES = {"updated_at_in_future", "key_not_unique"}
_REJECT: tuple[Outcome, ...] = ("reject",)
_WARN: tuple[Outcome, ...] = ("blank", "warn")
# Outcomes of the rules that every stored row holds.
_STORED: tuple[Outcome, ...] = ("reject", "blank")


def keeping_original(rows: Frame, raw: Table) -> Frame:
    """Add a copy of every column of a raw table, so that quarantine can show rejected rows in their original form."""
    return rows.with_columns(*(nw.col(name).alias(_ORIGINAL + name) for name in raw.columns))


def split(judged: Frame, table: Table, quarantine: Table, waivers: Iterable[Waiver] = ()) -> tuple[Frame, Frame]:
    """Split rows by the contract of a cleansed table.

    Args:
        judged: Rows with the table's columns and the copies of `keeping_original`. Tombstones (`is_deleted`) are judged
            by the rules `_EVEN_OF_TOMBSTONES` alone.
        table: The cleansed table.
        quarantine: The table of its rejected rows.
        waivers: Waivers of this table and of others.

    Returns:
        Rows of the cleansed table, with `warnings` and with blanked columns set to null; and rows of its quarantine:
        the original row, its date, `reasons` (comma-separated, in the order of the contract), `contract_version` and
        `versions`.
    """
    waived = waived_by(waivers, table)
    extra = {name for name, _ in quarantine.extra}
    # The verdict is a column, so that it is computed once for both sides.
    judged = judged.with_columns(rejects(table, waived).alias(_IS_REJECTED))
    rejected = judged.filter(nw.col(_IS_REJECTED)).with_columns(
        reasons=reasons(table, waived), contract_version=nw.lit(contract_version(table.model))
    )
    return _kept(judged.filter(~nw.col(_IS_REJECTED)), table, waived), rejected.select(
        nw.col(name) if name in extra else nw.col(_ORIGINAL + name).alias(name) for name in quarantine.columns
    )


def _kept(rows: Frame, table: Table, waived: Mapping[str, nw.Expr]) -> Frame:
    """Return rows that are not rejected, in the form of the cleansed table."""
    is_tombstone = _known(nw.col("is_deleted"), otherwise=False)
    broken = {
        rule.reason: (rule, _broken(rule, waived) & ~is_tombstone)
        for rule in rules_of(table.model)
        if rule.outcome in _WARN
    }
    flags = [is_broken.alias(_BROKEN + reason) for reason, (_, is_broken) in broken.items()]
    # Spark fails to add an empty list of columns.
    flagged = rows.with_columns(*flags) if flags else rows
    blanked: dict[str, list[nw.Expr]] = {}
    for rule, _ in broken.values():
        for column in rule.blanks:
            blanked.setdefault(column, []).append(nw.col(_BROKEN + rule.reason))
    warnings = _as_text({reason: nw.col(_BROKEN + reason) for reason in broken})
    judged = flagged.with_columns(
        *(nw.when(~reduce(or_, of_column)).then(nw.col(column)).alias(column) for column, of_column in blanked.items()),
        warnings=nw.when(warnings != "").then(warnings),
    )
    schema = nw.from_native(pl.DataFrame(schema=table.schema)).schema
    return judged.select(
        _fitting(name, dtype) if isinstance(dtype, nw.Decimal) else nw.col(name) for name, dtype in schema.items()
    )


def _fitting(column: str, dtype: nw.Decimal) -> nw.Expr:
    """Return a number in the type of its column. Only tombstones have numbers that do not fit; these become null."""
    number, limit = nw.col(column), Decimal(10) ** (dtype.precision - dtype.scale)
    fits = (number == number.round(dtype.scale)) & (number < nw.lit(limit))
    return nw.when(fits).then(number).cast(dtype).alias(column)


def key_of_row(table: Table) -> nw.Expr:
    """Return the key of a row as text, in the form of waivers and messages; null where a part is missing."""
    return nw.concat_str(*(nw.col(name).cast(nw.String) for name in table.key), separator=KEY_SEPARATOR)


def waived_by(waivers: Iterable[Waiver], table: Table) -> dict[str, nw.Expr]:
    """Return, by reason that is waived for some rows of a table, whether it is waived for a row; never null.

    Args:
        waivers: Waivers of this table and of others.
        table: A cleansed table; the expressions read its key and `captured_at`.
    """
    keys: dict[tuple[str, datetime], list[str]] = {}
    for waiver in waivers:
        if waiver.table == table.name:
            keys.setdefault((waiver.rule, waiver.until), []).append(waiver.key)
    by_rule: dict[str, nw.Expr] = {}
    for (rule, until), of_rule in keys.items():
        # The row's own capture decides whether a waiver has expired, so that the result does not depend on today.
        covered = _known(key_of_row(table).is_in(of_rule) & (nw.col("captured_at") < nw.lit(until)), otherwise=False)
        by_rule[rule] = by_rule[rule] | covered if rule in by_rule else covered
    return by_rule


def rejects(table: Table, waived: Mapping[str, nw.Expr]) -> nw.Expr:
    """Return whether a row goes to quarantine, because it breaks a rule that is not waived for it; never null."""
    return _breaks_unwaived(table, waived, _REJECT)


def breaks_unwaived(table: Table, waived: Mapping[str, nw.Expr]) -> nw.Expr:
    """Return whether a stored row breaks an unwaived rule, so that a derivation would reject or blank it."""
    return _breaks_unwaived(table, waived, _STORED)


def _breaks_unwaived(table: Table, waived: Mapping[str, nw.Expr], outcomes: Sequence[Outcome]) -> nw.Expr:
    rules = [rule for rule in rules_of(table.model) if rule.outcome in outcomes]
    is_tombstone = _known(nw.col("is_deleted"), otherwise=False)
    return (reduce(or_, (_broken(rule, waived) for rule in rules)) & ~is_tombstone) | reduce(
        or_, (_broken(rule, waived) for rule in rules if rule.reason in _EVEN_OF_TOMBSTONES)
    )


def breaks(table: Table) -> nw.Expr:
    """Return whether a stored row breaks a rule of its contract, waived or not; tombstones break none. Never null."""
    is_broken = reduce(or_, (_broken(rule, {}) for rule in rules_of(table.model) if rule.outcome in _STORED))
    return is_broken & ~_known(nw.col("is_deleted"), otherwise=False) if "is_deleted" in table.columns else is_broken


def reasons(table: Table, waived: Mapping[str, nw.Expr]) -> nw.Expr:
    """Return the unwaived reasons to reject a row, as text in the order of the contract; empty where there are none."""
    return _as_text(_broken_by_reason(table, waived, _REJECT))


def reasons_of_stored(table: Table, waived: Mapping[str, nw.Expr]) -> nw.Expr:
    """Return the unwaived rules for which a derivation would reject or blank a stored row, as text."""
    return _as_text(_broken_by_reason(table, waived, _STORED))


def waived_reasons(table: Table, waived: Mapping[str, nw.Expr]) -> nw.Expr:
    """Return the reasons of a row that are waived for it, as text in the order of the contract; may be empty."""
    broken = _broken_by_reason(table, {}, _STORED)
    return _as_text({reason: broken[reason] & waived[reason] for reason in broken if reason in waived})


def _broken(rule: Rule, waived: Mapping[str, nw.Expr]) -> nw.Expr:
    broken = ~_known(rule.valid, otherwise=True)
    return broken & ~waived[rule.reason] if rule.reason in waived else broken


def _known(condition: nw.Expr, *, otherwise: bool) -> nw.Expr:
    return condition.fill_null(otherwise)


def _broken_by_reason(table: Table, waived: Mapping[str, nw.Expr], outcomes: Sequence[Outcome]) -> dict[str, nw.Expr]:
    by_reason: dict[str, nw.Expr] = {}
    for rule in rules_of(table.model):
        if rule.outcome not in outcomes:
            continue
        broken, known = _broken(rule, waived), by_reason.get(rule.reason)
        by_reason[rule.reason] = broken if known is None else known | broken
    return by_reason


def _as_text(by_reason: Mapping[str, nw.Expr]) -> nw.Expr:
    """Return the names of the reasons whose condition holds, as text."""
    if not by_reason:
        return nw.lit("")
    named = [nw.when(holds).then(nw.lit(reason)).alias(reason) for reason, holds in by_reason.items()]
    return nw.concat_str(*named, separator=SEPARATOR, ignore_nulls=True)
