"""Find the dates on which a layer lacks what an earlier layer has, and since when."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import narwhals as nw
import polars as pl

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.contracts.types import MONEY_SUM, Frame
from orders_lakehouse.curated.base import Fact
from orders_lakehouse.delta.frames import rows_of
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.entities.registry import ENTITIES
from orders_lakehouse.pipeline.affected_dates import dates_of_orders, named_by
from orders_lakehouse.pipeline.row_accounting import unaccounted_versions
from orders_lakehouse.tables import DATED


@dataclass(frozen=True)
class LayerLag:
    """Dates that a layer lacks.

    Attributes:
        dates: Dates that the layer lacks or has in an outdated state, in order.
        since: Capture of the first missing or surplus row, by the shop's clock; None where the layer is current.
    """

    dates: list[date]
    since: datetime | None


def cleansed_lag(lake: Lake) -> LayerLag:
    """Return the lag of the cleansed tables: versions in raw that neither they nor quarantine account for."""
    by_entity = {entity: unaccounted_versions(lake, entity.cleansed) for entity in ENTITIES}
    dates = {day for entity, rows in by_entity.items() if entity.is_dimension for day in rows["captured_on"]}
    of_orders = {entity: named_by(entity, by_entity[entity]) for entity in DATED}
    if any(rows.height for rows in of_orders.values()):
        dates |= dates_of_orders(lake, of_orders)
    captured = pl.concat([rows["captured_at"] for rows in by_entity.values()])
    return LayerLag(sorted(dates), _first(captured))


def fact_lag(
    lake: Lake,
    table: Table,
    fact: Fact,
    totals: pl.DataFrame,
    rows_of_dates: Callable[[Collection[date]], pl.DataFrame],
) -> LayerLag:
    """Return the lag of a later layer: rows of cleansed tables that it lacks.

    Dates are compared by the number of rows and their total for each state. A change that affects neither, such as a
    product's name, is left to the weekly repair.

    Args:
        lake: The lake.
        table: The curated table of the rows.
        fact: The fact that is made of it.
        totals: order_date, the state, lines, total of the layer.
        rows_of_dates: Returns the layer's rows of some dates: order_date, the state, the key, the measure.
    """
    expected = _rows(_totals(_expected(lake, fact), fact))
    sides = (expected, totals)
    differing = [side.join(opposite, on=totals.columns, how="anti") for side, opposite in (sides, reversed(sides))]
    doubtful: list[date] = pl.concat(differing)["order_date"].unique().to_list()
    if not doubtful:
        return LayerLag([], None)
    # The layer is read first: rows that reach cleansed tables meanwhile have not waited for long.
    columns = compared(table, fact)
    copies = pl.len().over(columns)
    shown = rows_of_dates(doubtful).with_columns(copies=copies)
    rows = _rows(_expected(lake, fact, doubtful)).with_columns(copies=copies)
    on = [*columns, "copies"]
    lacking, surplus = rows.join(shown, on=on, how="anti"), shown.join(rows, on=on, how="anti")
    # A changed row is lacking as well as surplus; the remaining surplus rows were deleted or moved to another date.
    gone = surplus.join(lacking, on=["order_date", *table.key], how="anti")
    since = [lacking["captured_at"], *([_last_captured(lake, fact, gone)] if gone.height else [])]
    dates = pl.concat([lacking["order_date"], surplus["order_date"]]).unique().sort().to_list()
    return LayerLag(dates, _first(pl.concat(since)))


def compared(table: Table, fact: Fact) -> list[str]:
    """Return the columns by which rows of two layers are compared."""
    return ["order_date", fact.state, *table.key, fact.measure]


def _last_captured(lake: Lake, fact: Fact, rows: pl.DataFrame) -> pl.Series:
    """Return when the newest version that each row is made of was captured, on any date.

    For a row that raw does not know (any more), return the beginning of its date: nothing is late for longer.
    """
    known = searched = rows.lazy()
    for table, key in fact.versions:
        stored = _plan(lake.scan(table).select(*key, "captured_at"))
        # Numbers have 64 bits in raw, and may have fewer in cleansed tables.
        searched = searched.with_columns(pl.col(name).cast(table.schema[name]) for name in key)
        known = known.with_columns(pl.col(name).cast(table.schema[name]) for name in key)
        versions = stored.join(searched, on=key, how="semi")
        newest = versions.group_by(key).agg(pl.col("captured_at").max().alias(table.name))
        known = known.join(newest, on=key, how="left")
    newest_of_all = pl.max_horizontal(table.name for table, _ in fact.versions)
    began = pl.col("order_date").cast(fact.versions[0][0].schema["captured_at"])
    return _rows(known.select(captured_at=pl.coalesce(newest_of_all, began)))["captured_at"]


def curated_totals(lake: Lake, table: Table, fact: Fact) -> pl.DataFrame:
    """Return totals of a curated table: order_date, the state, lines, total."""
    return _rows(_totals(_plan(lake.scan(table).select(compared(table, fact))), fact))


def curated_rows(lake: Lake, table: Table, fact: Fact, dates: Collection[date]) -> pl.DataFrame:
    """Return rows of some dates of a curated table: order_date, the state, the key, the measure."""
    return rows_of(lake.scan(table, dates=list(dates)).select(compared(table, fact)))


def _expected(lake: Lake, fact: Fact, dates: Sequence[date] | None = None) -> pl.LazyFrame:
    """Return the rows that later layers should have, each with captured_at of the newest version it is made of."""
    return fact.expected(*(_plan(lake.scan(table, dates=dates)) for table in fact.expected_of))


def _totals(rows: pl.LazyFrame, fact: Fact) -> pl.LazyFrame:
    return rows.group_by("order_date", fact.state).agg(
        lines=pl.len().cast(pl.Int64), total=pl.col(fact.measure).sum().cast(pl.Decimal(*MONEY_SUM))
    )


def _first(instants: pl.Series) -> datetime | None:
    first = instants.min()
    return first if isinstance(first, datetime) else None


def _plan(frame: Frame) -> pl.LazyFrame:
    plan: pl.LazyFrame = nw.to_native(frame)
    return plan


def _rows(plan: pl.LazyFrame) -> pl.DataFrame:
    return rows_of(nw.from_native(plan))
