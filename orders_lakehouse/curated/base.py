"""Declarations of a curated table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from orders_lakehouse.contracts.base import Contract
from orders_lakehouse.contracts.table import MADE_HERE, Copied, Mix, Origin, Table
from orders_lakehouse.contracts.types import Frame


def curated_table(
    name: str,
    model: type[Contract],
    key: Sequence[str],
    upstream: Sequence[Table],
    partitioned_by: str | None = "order_date",
    computed: Mapping[str, Sequence[tuple[Table, str]]] | None = None,
) -> Table:
    """Declare the Delta table of a curated table.

    Args:
        name: Name within the layer.
        model: Its contract.
        key: Columns that identify a row.
        upstream: Tables that it is derived from; a column that several of them have comes from the first.
        partitioned_by: Date column; None for a table that is replaced as a whole.
        computed: Columns that are computed, or have another name upstream, with the columns that they are made of.
    """
    origins = {
        column: tuple(Origin(*of) for of in sources) or MADE_HERE for column, sources in (computed or {}).items()
    }
    return Table("curated", name, model, tuple(key), partitioned_by, upstream=tuple(upstream), computed=origins)


@dataclass(frozen=True)
class ByDate:
    """A table whose dates are made of the same dates of other tables.

    Attributes:
        dated: Tables whose rows of the dates are read; the rows of the first one determine the size of batches.
        make: Returns the rows of some dates, from the frames of `dated` and then those of `lookups`, in their order.
        lookups: Tables without these dates, each with a function of all its rows, called once for all dates.
    """

    dated: tuple[Table, ...]
    make: Callable[..., Frame]
    lookups: tuple[tuple[Table, Callable[[Frame], Frame]], ...] = ()


@dataclass(frozen=True)
class Cumulative:
    """A table over all dates of another one, updated by the dates that changed.

    Summing every row for one changed date would make each run slower as the shop grows.

    Attributes:
        source: The table that is summed.
        summed: Sums rows of whole dates.
        columns: Columns of `summed`; the table has them, too.
        updated: Updates sums, from the stored sums and those of the changed dates before and after the change.
        group: Column of `summed` that selects rows of the source again.
        unknown: Columns that `updated` leaves null where only the unchanged dates have the value.
        finished: Returns the table, from the sums over all dates and the source's latest date.
    """

    source: Table
    summed: Callable[[Frame], Frame]
    columns: tuple[str, ...]
    updated: Callable[[Frame, Frame, Frame], Frame]
    group: str
    unknown: tuple[str, ...]
    finished: Callable[[Frame, date], Frame]


@dataclass(frozen=True)
class Fact:
    """The fact that dbt makes of a table, row by row.

    Attributes:
        name: Name of the model. Its dates are integers, yyyymmdd, in `date_id`.
        state: Column by which the rows of a date are grouped to count them.
        measure: Amount that is summed.
        expected: Returns the rows that the table should have, from the upstream tables of some dates: the date, state,
            key, measure, and the last `captured_at` among the versions that the row is made of.
        expected_of: Upstream tables that `expected` reads.
        versions: Raw tables and keys whose newest version says when a row changed last.
        same_total: Upstream table with the same number of rows and total on each date.
    """

    name: str
    state: str
    measure: str
    expected: Callable[..., pl.LazyFrame]
    expected_of: tuple[Table, ...]
    versions: tuple[tuple[Table, tuple[str, ...]], ...]
    same_total: Table


@dataclass(frozen=True)
class Volume:
    """Measures of each date that are compared with the same weekday of the weeks before.

    Attributes:
        what: Names of the measures, as the beginning of a sentence.
        by: Column of groups that are never added to one another.
        measures: Columns that are compared.
    """

    what: str
    by: str
    measures: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Curated:
    """A curated table.

    Attributes:
        table: The Delta table.
        recipe: How its rows are made.
        copied: How it is copied to the warehouse; None if it is not.
        fact: The fact that is made of it row by row, if any.
        mixes: Columns whose mix of values is watched.
        volume: Measures that are watched.
        drawn_by_date: Returns charts by date, from rows of some dates: title to date and value.
        drawn_by: Column whose values are counted for a chart.
    """

    table: Table
    recipe: ByDate | Cumulative
    copied: Copied | None = None
    fact: Fact | None = None
    mixes: tuple[Mix, ...] = ()
    volume: Volume | None = None
    drawn_by_date: Callable[[pl.DataFrame], Mapping[str, pl.DataFrame]] | None = None
    drawn_by: str | None = None

    @property
    def name(self) -> str:
        """Name within the layer."""
        return self.table.name
