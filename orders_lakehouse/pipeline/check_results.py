"""Store and read the results of checks by date, `checks/results`: all of them, and those in force now."""

from collections.abc import Collection
from datetime import date, datetime
from typing import Any

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.checks import RAW_MATCHES_SOURCE
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.tables import CHECK_RESULTS, NOT_BLOCKING, OF_DIMENSIONS

# Layers whose assets had checks in earlier versions of the lakehouse; their stored results say nothing any more.
_FORMER_LAYERS = ("warehouse/", "staging/")
# Columns that identify a check and a date.
_SUBJECT = ["asset", "check_name", "date"]


def record(lake: Lake, results: pl.DataFrame) -> None:
    """Add evaluations. Nothing is replaced, so two runs that judge the same dates at once both keep their results.

    Args:
        lake: The lake.
        results: Columns of `checks/results`.
    """
    lake.append(CHECK_RESULTS, results)


def evaluations(lake: Lake) -> pl.DataFrame:
    """Return every evaluation, the oldest first. The table is not made where there is none.

    Returns:
        Columns of `checks/results`, ordered by evaluated_at, asset, check_name, date.
    """
    if find(lake, CHECK_RESULTS) is None:
        return pl.DataFrame(schema=CHECK_RESULTS.schema)
    return rows_of(_stored(lake)).sort("evaluated_at", *_SUBJECT)


def of_check(lake: Lake, asset: str, check_name: str) -> pl.DataFrame:
    """Return every evaluation of a check.

    Args:
        lake: The lake.
        asset: The check's table, layer/name.
        check_name: Name of the check.

    Returns:
        Columns of `checks/results`.
    """
    return rows_of(_stored(lake).filter(nw.col("asset") == asset, nw.col("check_name") == check_name))


def of_assets(lake: Lake, assets: Collection[str]) -> pl.DataFrame:
    """Return every evaluation of every check of some tables.

    Args:
        lake: The lake.
        assets: Names of the tables, layer/name.

    Returns:
        Columns of `checks/results`.
    """
    return rows_of(_stored(lake).filter(nw.col("asset").is_in(sorted(assets))))


def of_checks(lake: Lake, check_name: str) -> pl.DataFrame:
    """Return every evaluation of the checks with a name, on any table.

    Args:
        lake: The lake.
        check_name: The name.

    Returns:
        Columns of `checks/results`.
    """
    return rows_of(_stored(lake).filter(nw.col("check_name") == check_name))


def latest(lake: Lake, *, asset: str | None = None, check_name: str | None = None) -> pl.DataFrame:
    """Return the results in force: the last evaluation of each check and date.

    Args:
        lake: The lake.
        asset: Only this table, layer/name.
        check_name: Only this check.

    Returns:
        Columns of `checks/results`, ordered by asset, check_name, date.
    """
    frame = _stored(lake)
    for column, value in (("asset", asset), ("check_name", check_name)):
        if value is not None:
            frame = frame.filter(nw.col(column) == value)
    return in_force(rows_of(frame))


def _stored(lake: Lake) -> nw.LazyFrame[Any]:
    former = [nw.col("asset").str.starts_with(layer) for layer in _FORMER_LAYERS]
    return lake.scan(CHECK_RESULTS).filter(~nw.any_horizontal(*former, ignore_nulls=True))


def failing(rows: pl.DataFrame) -> pl.DataFrame:
    """Return failing results and since when they fail.

    Args:
        rows: Columns of `checks/results`: every evaluation of some checks.

    Returns:
        The results in force that do not hold, with the same columns and `since`: the first failure of the check and
        date since it last held.
    """
    held, fell = pl.col("passed"), pl.col("evaluated_at")
    last_held = fell.filter(held).max().over(_SUBJECT)
    since = fell.filter(~held & (last_held.is_null() | (fell > last_held))).min().over(_SUBJECT)
    return in_force(rows.with_columns(since=since)).filter(~held)


def counted_in_raw(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the number of rows in raw for each capture date when it was last checked.

    Args:
        rows: Columns of `checks/results`.

    Returns:
        asset, date, rows.
    """
    counted = in_force(rows.filter(pl.col("check_name") == RAW_MATCHES_SOURCE))
    rows_in_raw = pl.col("found").str.extract(r"^(\d+) in raw$").cast(pl.Int64)
    return counted.select("asset", "date", rows=rows_in_raw).drop_nulls()


def in_force(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the last evaluation of each check and date.

    Args:
        rows: Columns of `checks/results`.

    Returns:
        The same columns, ordered by asset, check_name, date.
    """
    return rows.sort("evaluated_at").unique(_SUBJECT, keep="last", maintain_order=True).sort(_SUBJECT)


def prune(lake: Lake, before: datetime, *, dry_run: bool = False) -> int:
    """Remove evaluations that later ones have superseded.

    Args:
        lake: The lake.
        before: Evaluations since this instant all stay.
        dry_run: Only count.

    Returns:
        The number of rows removed, or that would be removed.
    """
    if find(lake, CHECK_RESULTS) is None:
        return 0
    rows = rows_of(lake.scan(CHECK_RESULTS))
    going = rows.height - without_superseded(rows, before).height
    if going and not dry_run:
        # The rows are read again inside the commit: if a run adds some meanwhile, the replacement starts over.
        lake.replace_all(
            CHECK_RESULTS,
            lambda lake: nw.from_native(without_superseded(rows_of(lake.scan(CHECK_RESULTS)), before).lazy()),
        )
    return going


def without_superseded(rows: pl.DataFrame, before: datetime) -> pl.DataFrame:
    """Return evaluations since an instant, and the older ones that `in_force` and `failing` need for the same answer.

    Args:
        rows: Columns of `checks/results`: every evaluation of some checks.
        before: The instant.

    Returns:
        The same columns, the oldest first.
    """
    ordered = rows.sort("evaluated_at", maintain_order=True).with_row_index("place")
    place = pl.col("place")
    last_held = place.filter(pl.col("passed")).max().over(_SUBJECT)
    fell = place.filter(~pl.col("passed") & (last_held.is_null() | (place > last_held))).min().over(_SUBJECT)
    is_needed = (place == place.max().over(_SUBJECT)) | (place == last_held) | (place == fell)
    return ordered.filter(is_needed.fill_null(False) | (pl.col("evaluated_at") >= before)).drop("place")


def failing_dates(results: pl.DataFrame) -> list[date]:
    """Return the dates on which something with severity ERROR does not hold, in order."""
    failing = results.filter(~pl.col("passed") & (pl.col("severity") == "ERROR"))
    dates: list[date] = failing["date"].drop_nulls().unique().sort().to_list()
    return dates


def bad_dates(results: pl.DataFrame) -> list[date]:
    """Return the dates on which a check fails that stops the run of its date, in order."""
    does_not_stop = pl.col("check_name").is_in(list(NOT_BLOCKING)) | pl.col("asset").is_in(list(OF_DIMENSIONS))
    return failing_dates(results.filter(~does_not_stop))


def last_good_date(results: pl.DataFrame) -> date | None:
    """Return the last judged date on which nothing with severity ERROR fails."""
    bad = failing_dates(results)
    last = results.filter(~pl.col("date").is_in(bad))["date"].max()
    return last if isinstance(last, date) else None
