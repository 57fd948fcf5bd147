"""The split of judged rows into those that hold their contract and those that do not, with every reason.

A rule can be waived for a row (`contracts/waivers.py`): what is waived is no reason. A rule that does not reject a row
(`Rule.outcome`) leaves its name in `warnings`, and null in the columns that it blanks.
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
# Between the names in `reasons` and in `warnings`.
SEPARATOR = ", "
# A deletion whose clock ran ahead would stay the newest version for as long; one that the source offers beside another
# row of its key may not be one.
_EVEN_OF_TOMBSTONES = {"updated_at_in_future", "key_not_unique"}
_REJECT: tuple[Outcome, ...] = ("reject",)
_WARN: tuple[Outcome, ...] = ("blank", "warn")
# Rules that every stored row holds.
_STORED: tuple[Outcome, ...] = ("reject", "blank")


def keeping_original(rows: Frame, raw: Table) -> Frame:
    """Add a copy of every column of a raw table: what is rejected can be shown as it came."""
    return rows.with_columns(*(nw.col(name).alias(_ORIGINAL + name) for name in raw.columns))


def split(judged: Frame, table: Table, quarantine: Table, waivers: Iterable[Waiver] = ()) -> tuple[Frame, Frame]:
    """Split rows by the contract of a cleansed table.

    Args:
        judged: Rows with the table's columns and, by `keeping_original`, those of its raw table. Tombstones
            (`is_deleted`) are not judged, but for their clock.
        table: The cleansed table.
        quarantine: The table of its rejected rows.
        waivers: What is waived, of this table and of others.

    Returns:
        Rows of the cleansed table, with `warnings` and without what these blank; and of its quarantine: the original
        row, when it counts, `reasons` (comma-separated, in the order of the contract), `contract_version` and
        `versions`.
    """
    waived = waived_by(waivers, table)
    extra = {name for name, _ in quarantine.extra}
    # As a column: once for both sides.
    judged = judged.with_columns(rejects(table, waived).alias(_IS_REJECTED))
    rejected = judged.filter(nw.col(_IS_REJECTED)).with_columns(
        reasons=reasons(table, waived), contract_version=nw.lit(contract_version(table.model))
    )
    return _kept(judged.filter(~nw.col(_IS_REJECTED)), table, waived), rejected.select(
        nw.col(name) if name in extra else nw.col(_ORIGINAL + name).alias(name) for name in quarantine.columns
    )


def _kept(rows: Frame, table: Table, waived: Mapping[str, nw.Expr]) -> Frame:
    """Rows that are not rejected, as the cleansed table has them."""
    is_tombstone = _known(nw.col("is_deleted"), otherwise=False)
    broken = {
        rule.reason: (rule, _broken(rule, waived) & ~is_tombstone)
        for rule in rules_of(table.model)
        if rule.outcome in _WARN
    }
    flags = [is_broken.alias(_BROKEN + reason) for reason, (_, is_broken) in broken.items()]
    # Spark adds no columns where none are given.
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
    """A number as its column holds it. What does not fit (`columns.number`) stands in tombstones alone: null there."""
    number, limit = nw.col(column), Decimal(10) ** (dtype.precision - dtype.scale)
    fits = (number == number.round(dtype.scale)) & (number < nw.lit(limit))
    return nw.when(fits).then(number).cast(dtype).alias(column)


def key_of_row(table: Table) -> nw.Expr:
    """The key of a row as text, as waivers and messages write it; null where a part is missing."""
    return nw.concat_str(*(nw.col(name).cast(nw.String) for name in table.key), separator=KEY_SEPARATOR)


def waived_by(waivers: Iterable[Waiver], table: Table) -> dict[str, nw.Expr]:
    """For each reason of a table that is waived for some rows: whether it is for a row, never null.

    Args:
        waivers: What is waived, of this table and of others.
        table: A cleansed table; the expressions look at its key and at `captured_at`.
    """
    keys: dict[tuple[str, datetime], list[str]] = {}
    for waiver in waivers:
        if waiver.table == table.name:
            keys.setdefault((waiver.rule, waiver.until), []).append(waiver.key)
    found: dict[str, nw.Expr] = {}
    for (rule, until), of_rule in keys.items():
        # By the row's own capture: whether a waiver still holds must not depend on when that is asked.
        covered = _known(key_of_row(table).is_in(of_rule) & (nw.col("captured_at") < nw.lit(until)), otherwise=False)
        found[rule] = found[rule] | covered if rule in found else covered
    return found


def rejects(table: Table, waived: Mapping[str, nw.Expr]) -> nw.Expr:
    """Whether a row goes to quarantine: it breaks a rule that is not waived for it; never null."""
    return _breaks_unwaived(table, waived, _REJECT)


def breaks_unwaived(table: Table, waived: Mapping[str, nw.Expr]) -> nw.Expr:
    """Whether a stored row breaks a rule that is not waived for it and that a derivation would not let stand."""
    return _breaks_unwaived(table, waived, _STORED)


def _breaks_unwaived(table: Table, waived: Mapping[str, nw.Expr], outcomes: Sequence[Outcome]) -> nw.Expr:
    rules = [rule for rule in rules_of(table.model) if rule.outcome in outcomes]
    is_tombstone = _known(nw.col("is_deleted"), otherwise=False)
    return (reduce(or_, (_broken(rule, waived) for rule in rules)) & ~is_tombstone) | reduce(
        or_, (_broken(rule, waived) for rule in rules if rule.reason in _EVEN_OF_TOMBSTONES)
    )


def breaks(table: Table) -> nw.Expr:
    """Whether a stored row breaks a rule of its contract, waived or not; tombstones break none. Never null."""
    is_broken = reduce(or_, (_broken(rule, {}) for rule in rules_of(table.model) if rule.outcome in _STORED))
    return is_broken & ~_known(nw.col("is_deleted"), otherwise=False) if "is_deleted" in table.columns else is_broken


def reasons(table: Table, waived: Mapping[str, nw.Expr]) -> nw.Expr:
    """The reasons to reject a row that are not waived, as text in the order of the contract; empty where none is."""
    return _as_text(_broken_by_reason(table, waived, _REJECT))


def reasons_of_stored(table: Table, waived: Mapping[str, nw.Expr]) -> nw.Expr:
    """The rules that a stored row breaks, that are not waived for it, and that a derivation would not let stand."""
    return _as_text(_broken_by_reason(table, waived, _STORED))


def waived_reasons(table: Table, waived: Mapping[str, nw.Expr]) -> nw.Expr:
    """The reasons of a row that are waived for it, as text in the order of the contract; empty where none is."""
    broken = _broken_by_reason(table, {}, _STORED)
    return _as_text({reason: broken[reason] & waived[reason] for reason in broken if reason in waived})


def _broken(rule: Rule, waived: Mapping[str, nw.Expr]) -> nw.Expr:
    broken = ~_known(rule.valid, otherwise=True)
    return broken & ~waived[rule.reason] if rule.reason in waived else broken


def _known(said: nw.Expr, *, otherwise: bool) -> nw.Expr:
    return said.fill_null(otherwise)


def _broken_by_reason(table: Table, waived: Mapping[str, nw.Expr], outcomes: Sequence[Outcome]) -> dict[str, nw.Expr]:
    by_reason: dict[str, nw.Expr] = {}
    for rule in rules_of(table.model):
        if rule.outcome not in outcomes:
            continue
        broken, known = _broken(rule, waived), by_reason.get(rule.reason)
        by_reason[rule.reason] = broken if known is None else known | broken
    return by_reason


def _as_text(by_reason: Mapping[str, nw.Expr]) -> nw.Expr:
    """The names of the reasons for which an expression holds."""
    if not by_reason:
        return nw.lit("")
    named = [nw.when(holds).then(nw.lit(reason)).alias(reason) for reason, holds in by_reason.items()]
    return nw.concat_str(*named, separator=SEPARATOR, ignore_nulls=True)
