"""Compare a date with the dates before it: how much was sold, and of what."""

from collections.abc import Sequence
from datetime import date

import narwhals as nw

from orders_lakehouse.contracts.types import Frame

# Number of weeks whose same weekday is compared, and minimum number of those with sales.
WEEKS, ENOUGH_WEEKS = 8, 4
# Number of days whose mix is compared, and minimum rows on either side for a share to mean something.
DAYS, ENOUGH_ROWS = 28, 200
# Smallest deviation as a share of the mean, for weekdays that were all alike.
_LEAST_DEVIATION = 0.1
# Values below this share on both sides count as one: many small shares add up to a shift by chance alone.
_RARE_SHARE = 0.02
RARE = "(rare)"


def against_weekdays(rows: Frame, by: str, measures: Sequence[str], first: date, last: date) -> Frame:
    """Compare measures of each date with those of the same weekday in the `WEEKS` weeks before.

    Args:
        rows: order_date, the group, the measures: each date and group once, from `WEEKS` weeks before `first` on.
        by: Column of groups that are never added to one another.
        measures: Columns that are compared.
        first: First date to judge.
        last: Last date to judge.

    Returns:
        order_date, the group, measure (its name), value (0 on a date without rows), usual (mean), deviation (sample
        standard deviation, at least 10 % of the mean), weekdays (number of weekdays with rows), score (deviations from
        the mean); only where at least `ENOUGH_WEEKS` weekdays had rows of the group.
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
        # If all weekdays were zero, a single unit is one deviation.
        .with_columns(nw.col("value").fill_null(0.0), deviation=nw.when(least > 0).then(least).otherwise(nw.lit(1.0)))
        .with_columns(score=(nw.col("value") - nw.col("usual")) / nw.col("deviation"))
        .select(*key, "value", "usual", "deviation", "weekdays", "score")
    )


def mix_shifts(counts: Frame, first: date, last: date) -> Frame:
    """Compute by how much the mix of values of each date differs from the `DAYS` days before.

    The measure is the population stability index, the sum of `shift` over the values: (share - usual share) *
    ln(share / usual share). Below 0.1 a mix is usually called stable, above 0.25 changed. Half a row is added to each
    value, because a share of zero has no logarithm.

    Args:
        counts: date, value (text), rows: number of occurrences of each value, from `DAYS` days before `first` to
            `last`.
        first: First date to judge.
        last: Last date to judge.

    Returns:
        date, value (`RARE` for those with less than 2 % on both sides), rows, rows_before, total, total_before, shift;
        only for dates that have `ENOUGH_ROWS` rows, as do the days before.
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
