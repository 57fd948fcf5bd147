"""The split of judged rows into those that hold their contract and those that do not, with every reason."""

from functools import reduce
from operator import or_

import narwhals as nw

from orders_lakehouse.contracts.base import Rule, contract_version, rules_of
from orders_lakehouse.contracts.tables import QUARANTINE_OF, RAW_OF, Table
from orders_lakehouse.contracts.types import Frame

_ORIGINAL = "original__"
_SEPARATOR = ", "
# A deletion whose clock ran ahead would stay the newest version for as long.
_EVEN_OF_TOMBSTONES = {"updated_at_in_future"}


def keeping_original(rows: Frame) -> Frame:
    """Add a copy of every column, so that what is rejected can be shown as it came."""
    names = rows.collect_schema().names()
    return rows.with_columns(*(nw.col(name).alias(_ORIGINAL + name) for name in names))


def split(judged: Frame, table: Table) -> tuple[Frame, Frame]:
    """Split rows by the contract of a cleansed table.

    Args:
        judged: Rows with the table's columns and, by `keeping_original`, those of its raw table. Tombstones
            (`is_deleted`) are not judged, but for their clock.
        table: The cleansed table.

    Returns:
        Rows of the cleansed table and of its quarantine: the original row, when it counts, `reasons` (comma-separated,
        in the order of the contract), `contract_version` and `versions`.
    """
    rules = rules_of(table.model)
    is_tombstone = nw.when(nw.col("is_deleted").is_null()).then(nw.lit(False)).otherwise(nw.col("is_deleted"))
    is_broken = (reduce(or_, (_broken(rule) for rule in rules)) & ~is_tombstone) | reduce(
        or_, (_broken(rule) for rule in rules if rule.reason in _EVEN_OF_TOMBSTONES)
    )
    raw_columns = RAW_OF[table.name].columns
    rejected = judged.filter(is_broken).with_columns(
        reasons=nw.concat_str(*_named(rules), separator=_SEPARATOR, ignore_nulls=True),
        contract_version=nw.lit(contract_version(table.model)),
    )
    return judged.filter(~is_broken).select(table.columns), rejected.select(
        nw.col(_ORIGINAL + name).alias(name) if name in raw_columns else nw.col(name)
        for name in QUARANTINE_OF[table.name].columns
    )


def _broken(rule: Rule) -> nw.Expr:
    return ~nw.when(rule.valid.is_null()).then(nw.lit(True)).otherwise(rule.valid)


def _named(rules: list[Rule]) -> list[nw.Expr]:
    """One text column for each reason: its name where a rule with that reason is broken, else null."""
    by_reason: dict[str, nw.Expr] = {}
    for rule in rules:
        known = by_reason.get(rule.reason)
        by_reason[rule.reason] = _broken(rule) if known is None else known | _broken(rule)
    return [nw.when(broken).then(nw.lit(reason)).alias(reason) for reason, broken in by_reason.items()]
