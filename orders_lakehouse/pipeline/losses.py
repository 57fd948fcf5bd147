"""Measure losses over a table: which rule rejects what share of the rows, and for which values.

A share by date means little in a shop with a few orders a day. A word unknown to the contract rejects rows on every
date. So shares are taken of the last dates and of the whole table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.base import columns_of, personal_columns, rules_of
from orders_lakehouse.contracts.raw import LINEAGE
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.table_files import files_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.children import BEFORE_THE_START, OF_THE_ORDER, ORDER_UNKNOWN, ORDERED_BEFORE_START
from orders_lakehouse.pipeline.row_accounting import rows_by_date
from orders_lakehouse.tables import QUARANTINE_OF, ROOT
from orders_lakehouse.transforms.split import SEPARATOR

# Number of dates judged besides the whole table: the last ones that have rows.
LAST_DATES = 28
# Minimum rows for a share to mean something: of the last dates, and of a whole table.
ENOUGH_OF_DATES, ENOUGH_OF_TABLE = 20, 3
# Time that a row may wait for its order before it counts as lost.
_WAITS = timedelta(days=1)
# Number of values listed, the most frequent ones first.
_NAMED = 10


@dataclass(frozen=True)
class Loss:
    """A rule that rejects too much.

    Attributes:
        rule: Name of the rule.
        over: The rows that it was judged over, in words.
        rejected: Rows of these that it rejects.
        rows: All of these rows, including the rejected ones.
        values: Distinct values of the rule's columns with their numbers of rows, in words; empty if there are none to
            list.
    """

    rule: str
    over: str
    rejected: int
    rows: int
    values: str

    @property
    def in_words(self) -> str:
        """Describe how much is lost."""
        return f"{self.rule} rejects {self.rejected:,} of {self.rows:,} rows of {self.over}"


def losses(lake: Lake, table: Table, limit: float) -> list[Loss]:
    """Return the rules that reject more than a share of the last dates of a cleansed table, or of all of it.

    Args:
        lake: The lake.
        table: A cleansed table.
        limit: The share, 0 to 1.

    Returns:
        One loss for each rule, over the whole table if the share is too large there. Losses follow the order of the
        contract; rules that it no longer has come last. Orders from before the first partition do not count as lost.
    """
    quarantine = QUARANTINE_OF[table.name]
    bad = rows_by_date(lake, quarantine, None)
    by_date = pl.concat([rows_by_date(lake, table, None), bad]).group_by("date").agg(pl.col("rows").sum()).sort("date")
    last_dates = by_date["date"].tail(LAST_DATES)
    by_rule: dict[str, Loss] = {}
    for dates, enough, over in (
        (last_dates, ENOUGH_OF_DATES, f"the last {last_dates.len()} dates that have rows"),
        (by_date["date"], ENOUGH_OF_TABLE, "the whole table"),
    ):
        within = pl.col("date").is_in(dates.implode())
        rows, rejected = (int(of.filter(within)["rows"].sum()) for of in (by_date, bad))
        # Read rows only if the log alone shows that too many are rejected, which is rare.
        if rows >= enough and rejected > limit * rows:
            lost = _lost(lake, table, dates.min(), dates.max())  # type: ignore[arg-type]
            is_before = pl.col("rule").is_in(BEFORE_THE_START)
            rows -= lost.filter(is_before).height
            lost = lost.filter(~is_before)
            for rule, of_rule in lost.group_by("rule"):
                if rows >= enough and of_rule.height > limit * rows:
                    name = str(rule[0])
                    by_rule[name] = Loss(name, over, of_rule.height, rows, _values(table, name, of_rule))
    place = {rule.reason: number for number, rule in enumerate(rules_of(table.model))}
    return sorted(by_rule.values(), key=lambda loss: (place.get(loss.rule, len(place)), loss.rule))


def ordered_before_start(lake: Lake) -> int:
    """Count the orders that are left out because they were placed before the first partition."""
    quarantine = ROOT.quarantine
    if find(lake, quarantine) is None:
        return 0
    is_before = nw.col("reasons").str.contains(ORDERED_BEFORE_START, literal=True)
    return int(rows_of(lake.scan(quarantine).filter(is_before).select(nw.len())).item())


def _lost(lake: Lake, table: Table, first: date, last: date) -> pl.DataFrame:
    """Return rows in quarantine, once for each of their reasons, without those that may still find their order."""
    quarantine = QUARANTINE_OF[table.name]
    rows = rows_of(lake.scan(quarantine, between=(first, last)))
    handle = find(lake, ROOT.raw)
    # Measured from the last capture date, not from a clock: the order may come until the shop's day is over.
    newest = files_of(handle, ROOT.raw)["date"].max() if handle is not None else None
    by_rule = rows.with_columns(rule=pl.col("reasons").str.split(SEPARATOR)).explode("rule")
    if not isinstance(newest, date):
        return by_rule
    may_come = (pl.col("rule") == ORDER_UNKNOWN) & (pl.col("captured_on") >= newest - _WAITS)
    return by_rule.filter(~may_come)


def _values(table: Table, reason: str, rows: pl.DataFrame) -> str:
    """List the distinct values for which a rule rejects, the most frequent ones first."""
    if reason in OF_THE_ORDER:
        return ""
    named = [name for name in _columns(table, reason) if name in rows.columns]
    hidden = personal_columns(table.model) & set(named)
    if not named or hidden:
        return f"{', '.join(sorted(hidden))}: personal, not named here" if hidden else ""
    counted = rows.group_by(named).len("rows").sort("rows", *named, descending=[True, *[False] * len(named)])
    value = pl.concat_str((pl.col(name).cast(pl.String).fill_null("(none)") for name in named), separator=" / ")
    listed = counted.head(_NAMED).select(pl.format("{} ({})", pl.format("'{}'", value), "rows")).to_series().to_list()
    more = [f"and {counted.height - _NAMED:,} other values"] if counted.height > _NAMED else []
    return f"{' / '.join(named)}: {', '.join([*listed, *more])}"


def _columns(table: Table, reason: str) -> Sequence[str]:
    """Return the columns that a rule reads, without those that the lake adds."""
    of_reason = [rule for rule in rules_of(table.model) if rule.reason == reason]
    columns = (columns_of(rule, table.schema) if rule.column is None else [rule.column] for rule in of_reason)
    return list(dict.fromkeys(name for of_rule in columns for name in of_rule if name not in LINEAGE))
