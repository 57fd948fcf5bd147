"""What is unusual about a date, beside the dates before it: how much was sold, and of what."""

from collections.abc import Sequence
from datetime import date

import narwhals as nw

from orders_lakehouse.contracts.types import Frame

# So many weeks are looked back for the same weekday, and so many of them must have sales to say what is usual.
WEEKS, ENOUGH_WEEKS = 8, 4
# So many days are looked back for the usual mix, and with fewer rows on either side a share says nothing.
DAYS, ENOUGH_ROWS = 28, 200
# Weekdays that were all alike leave no deviation to measure with: it counts as this share of the mean at least.
_LEAST_DEVIATION = 0.1
# Values that are rarer than this on both sides count as one: many small shares add up to a shift by chance alone.
_RARE_SHARE = 0.02
RARE = "(rare)"


def against_weekdays(rows: Frame, by: str, measures: Sequence[str], first: date, last: date) -> Frame:
    """Measures of each date beside those of the same weekday in the `WEEKS` weeks before.

    Args:
        rows: order_date, the group, the measures: each date and group once, from `WEEKS` weeks before `first` on.
        by: Column of groups that are never added to one another.
        measures: Columns that are compared.
        first: First date to judge.
        last: Last date to judge.

    Returns:
        order_date, the group, measure (its name), value (0 on a date without rows), usual (mean), deviation
        (sample standard deviation, at least 10 % of the mean), weekdays (how many of them had rows), score (deviations
        from the mean): where at least `ENOUGH_WEEKS` weekdays had rows of the group.
    """
    key = ["order_date", by, "measure"]
    measured = nw.concat(
        [rows.select("order_date", by, measure=nw.lit(name), value=nw.col(name).cast(nw.Float64)) for name in measures]
    )
    earlier = nw.concat(
        [measured.with_columns(nw.col("order_date").dt.offset_by(f"{7 * weeks}d")) for weeks in range(1, WEEKS + 1)]
    )
    usual = (
        earlier.filter(nw.col("order_date").is_between(nw.lit(first), nw.lit(last)))
        .group_by(*key)
        .agg(weekdays=nw.len(), usual=nw.col("value").mean(), deviation=nw.col("value").std())
        .filter(nw.col("weekdays") >= ENOUGH_WEEKS)
    )
    least = nw.max_horizontal("deviation", nw.col("usual") * _LEAST_DEVIATION)
    return (
        usual.join(measured, on=key, how="left")
        # Where weekdays were always zero, a single unit is a deviation.
        .with_columns(nw.col("value").fill_null(0.0), deviation=nw.when(least > 0).then(least).otherwise(nw.lit(1.0)))
        .with_columns(score=(nw.col("value") - nw.col("usual")) / nw.col("deviation"))
        .select(*key, "value", "usual", "deviation", "weekdays", "score")
    )


def mix_shifts(counts: Frame, first: date, last: date) -> Frame:
    """How the mix of values of each date differs from that of the `DAYS` days before: the population stability index.

    The index of a date is the sum of `shift`: (share - usual share) * ln(share / usual share) over the values. Below
    0.1 a mix is usually called stable, above 0.25 changed. Half a row is added to each value, because a share of
    nothing has no logarithm.

    Args:
        counts: date, value (text), rows: how often each value occurs, from `DAYS` days before `first` to `last`.
        first: First date to judge.
        last: Last date to judge.

    Returns:
        date, value (`RARE` for those with less than 2 % on both sides), rows, rows_before, total, total_before, shift:
        of the dates that have `ENOUGH_ROWS` rows, as have the days before.
    """
    nothing = nw.lit(0).cast(nw.Int64)
    of_date = counts.select("date", "value", rows=nw.col("rows").cast(nw.Int64), rows_before=nothing)
    before = [
        of_date.select(nw.col("date").dt.offset_by(f"{days}d"), "value", rows=nothing, rows_before="rows")
        for days in range(1, DAYS + 1)
    ]
    both = (
        nw.concat([of_date, *before])
        .filter(nw.col("date").is_between(nw.lit(first), nw.lit(last)))
        .group_by("date", "value")
        .agg(nw.col("rows").sum(), nw.col("rows_before").sum())
        .with_columns(total=nw.col("rows").sum().over("date"), total_before=nw.col("rows_before").sum().over("date"))
        .filter(nw.col("total") >= ENOUGH_ROWS, nw.col("total_before") >= ENOUGH_ROWS)
    )
    is_rare = (nw.col("rows") < nw.col("total") * _RARE_SHARE) & (
        nw.col("rows_before") < nw.col("total_before") * _RARE_SHARE
    )
    share = (nw.col("rows") + 0.5) / nw.col("total")
    usual = (nw.col("rows_before") + 0.5) / nw.col("total_before")
    return (
        both.with_columns(value=nw.when(is_rare).then(nw.lit(RARE)).otherwise(nw.col("value")))
        .group_by("date", "value", "total", "total_before")
        .agg(nw.col("rows").sum(), nw.col("rows_before").sum())
        .with_columns(shift=(share - usual) * (share / usual).log())
        .select("date", "value", "rows", "rows_before", "total", "total_before", "shift")
    )
