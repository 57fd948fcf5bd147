"""Compare a date with the dates before it: how much was sold, and of what.

The functions take few rows in memory and compute at once. A lazy plan would compute each shared step again: ten times
the work.
"""

import math
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import narwhals as nw
import polars as pl

# Rows in memory; every step is computed once.
Rows = nw.DataFrame[pl.DataFrame]

# Number of weeks whose same weekday is compared, and minimum number of those with sales.
WEEKS, ENOUGH_WEEKS = 8, 4
# Number of days before a date that show the level of sales, and their usual spread; minimum number of them.
_LEVEL_DAYS, _SPREAD_DAYS, _ENOUGH_DAYS = 7, 28, 4
# Days before the first judged date whose rows are needed.
DAYS_BEFORE = 7 * WEEKS + _SPREAD_DAYS
# Number of days whose mix is compared, and minimum rows on either side for a share to mean something.
DAYS, ENOUGH_ROWS = 28, 200
# Smallest deviation, as a logarithm: about 10 % of the usual value, for days that were all alike.
_LEAST_DEVIATION = 0.1
# Ratio of a standard deviation to the median of absolute deviations, for values with a normal distribution.
_TO_DEVIATION = 1.4826
# Value that a smaller one counts as, because zero has no logarithm.
_LEAST_VALUE = 0.5
# Values below this share on both sides count as one: many small shares add up to a shift by chance alone.
_RARE_SHARE = 0.02
RARE = "(rare)"
# Number of rows usual for a value on a date from which none at all is no chance, even among hundreds of values.
GONE_ROWS = 20


def against_weekdays(
    rows: pl.DataFrame, by: str, measures: Sequence[str], first: date, last: date, special: Sequence[date] = ()
) -> pl.DataFrame:
    """Compare measures of each date with what is usual for its weekday, at the level of the week before it.

    All steps use logarithms, so that they compare ratios. The usual value of a date is the median of the same weekday
    in the `WEEKS` weeks before. By how much the last seven days were above theirs is the level, which follows seasons
    and growth. The deviation is what the last four weeks spread around that, by their median absolute deviation
    (Hampel's identifier): unlike a standard deviation, it is not widened by one extraordinary day. Each date depends on
    the `DAYS_BEFORE` days before it alone, so any range of dates gets the same answers.

    Args:
        rows: order_date, the group, the measures: each date and group once, from `DAYS_BEFORE` days before `first` on.
        by: Column of groups that are never added to one another.
        measures: Columns that are compared.
        first: First date to judge.
        last: Last date to judge.
        special: Dates that are like no others, such as holidays; they are neither judged nor compared with.

    Returns:
        order_date, the group, measure (its name), value (0 on a date without rows), usual (the expected value),
        deviation (share of the usual value), weekdays (number of weekdays with rows), score (deviations from the usual
        value); only for dates where at least `ENOUGH_WEEKS` weekdays had rows of the group.
    """
    key, given = ["order_date", by, "measure"], nw.from_native(rows, eager_only=True)
    measured = nw.concat(
        [given.select("order_date", by, measure=nw.lit(name), value=nw.col(name).cast(nw.Float64)) for name in measures]
    ).with_columns(size=nw.max_horizontal("value", nw.lit(_LEAST_VALUE)).log())
    ordinary = ~nw.col("order_date").is_in(list(special))
    usual = (
        _shifted(measured.filter(ordinary), [7 * weeks for weeks in range(1, WEEKS + 1)])
        .group_by(*key)
        .agg(weekdays=nw.len(), weekday_size=nw.col("size").median())
        .filter(nw.col("weekdays") >= ENOUGH_WEEKS, nw.col("order_date") <= nw.lit(last), ordinary)
    )
    compared = (
        usual.join(measured, on=key, how="left")
        .with_columns(nw.col("value").fill_null(0.0), nw.col("size").fill_null(math.log(_LEAST_VALUE)))
        .with_columns(above=nw.col("size") - nw.col("weekday_size"))
    )
    earlier = _shifted(compared.select(*key, "above"), range(1, _SPREAD_DAYS + 1), "days")
    level = _enough(earlier.filter(nw.col("days") <= _LEVEL_DAYS).group_by(*key), level=nw.col("above").median())
    middle = earlier.group_by(*key).agg(middle=nw.col("above").median())
    apart = earlier.join(middle, on=key).with_columns(apart=(nw.col("above") - nw.col("middle")).abs())
    spread = _enough(apart.group_by(*key), spread=nw.col("apart").median() * _TO_DEVIATION)
    deviation = nw.max_horizontal(nw.col("spread").fill_null(0.0), nw.lit(_LEAST_DEVIATION))
    expected = nw.col("weekday_size") + nw.col("level").fill_null(0.0)
    return (
        compared.filter(nw.col("order_date") >= nw.lit(first))
        .join(level, on=key, how="left")
        .join(spread, on=key, how="left")
        .with_columns(
            usual=expected.exp(), deviation=deviation.exp() - 1, score=(nw.col("size") - expected) / deviation
        )
        .select(*key, "value", "usual", "deviation", "weekdays", "score")
        .to_native()
    )


def _shifted(rows: Rows, days: Iterable[int], name: str | None = None) -> Rows:
    """Return rows once for each number of days, that many days later; the number is in the column `name`."""
    return nw.concat(
        [
            rows.with_columns(
                nw.col("order_date").dt.offset_by(f"{number}d"), **({name: nw.lit(number)} if name else {})
            )
            for number in days
        ]
    )


def _enough(groups: Any, **aggregates: nw.Expr) -> Rows:
    """Aggregate groups of days, and leave out those of too few."""
    aggregated: Rows = groups.agg(counted=nw.len(), **aggregates)
    return aggregated.filter(nw.col("counted") >= _ENOUGH_DAYS).drop("counted")


def mix_shifts(counts: pl.DataFrame, first: date, last: date) -> pl.DataFrame:
    """Compute by how much the mix of values of each date differs from the `DAYS` days before.

    The measure is the population stability index, the sum of `shift` over the values: (share - usual share) *
    ln(share / usual share). Below 0.1 a mix is usually called stable, above 0.25 changed. Half a row is added to each
    value, because a share of zero has no logarithm. Among many values, one that is gone hardly moves the index. So a
    value without rows, whose usual share of the date would be `GONE_ROWS`, is marked.

    Args:
        counts: date, value (text), rows: number of occurrences of each value, from `DAYS` days before `first` to
            `last`.
        first: First date to judge.
        last: Last date to judge.

    Returns:
        date, value (`RARE` for those with less than 2 % on both sides that are not gone), is_gone, rows, rows_before,
        total, total_before, shift; only for dates that have `ENOUGH_ROWS` rows, as do the days before.
    """
    nothing = nw.lit(0).cast(nw.Int64)
    of_date = nw.from_native(counts, eager_only=True).select(
        "date", "value", rows=nw.col("rows").cast(nw.Int64), rows_before=nothing
    )
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
    is_gone = (nw.col("rows") == 0) & (nw.col("rows_before") * nw.col("total") >= nw.col("total_before") * GONE_ROWS)
    is_rare = (nw.col("rows") < nw.col("total") * _RARE_SHARE) & (
        nw.col("rows_before") < nw.col("total_before") * _RARE_SHARE
    )
    share = (nw.col("rows") + 0.5) / nw.col("total")
    usual = (nw.col("rows_before") + 0.5) / nw.col("total_before")
    shifts: pl.DataFrame = (
        both.with_columns(is_gone=is_gone)
        .with_columns(value=nw.when(is_rare & ~nw.col("is_gone")).then(nw.lit(RARE)).otherwise(nw.col("value")))
        .group_by("date", "value", "is_gone", "total", "total_before")
        .agg(nw.col("rows").sum(), nw.col("rows_before").sum())
        .with_columns(shift=(share - usual) * (share / usual).log())
        .select("date", "value", "is_gone", "rows", "rows_before", "total", "total_before", "shift")
        .to_native()
    )
    return shifts
