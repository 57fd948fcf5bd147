"""What a curated table declares."""

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
        upstream: Tables that it is derived from; of several that have a column of a name, it comes from the first.
        partitioned_by: Date column; None: it is replaced as a whole.
        computed: Columns that are computed, or have another name upstream, with the columns that they are made of.
    """
    origins = {column: tuple(Origin(*of) for of in made) or MADE_HERE for column, made in (computed or {}).items()}
    return Table("curated", name, model, tuple(key), partitioned_by, upstream=tuple(upstream), computed=origins)


@dataclass(frozen=True)
class ByDate:
    """A table whose dates are made of the same dates of others.

    Attributes:
        dated: Tables of which the rows of the dates are read; the first has the rows that memory is reckoned by.
        make: Makes the rows of some dates: of the frames of `dated`, then of those of `looked_up`, in their order.
        looked_up: Tables without these dates: what is made of all their rows, once for all dates.
    """

    dated: tuple[Table, ...]
    make: Callable[..., Frame]
    looked_up: tuple[tuple[Table, Callable[[Frame], Frame]], ...] = ()


@dataclass(frozen=True)
class Cumulative:
    """A table over all dates of another one, kept up to date by the dates that changed.

    To sum every row for one date that changed would make each run dearer as the shop grows.

    Attributes:
        source: The table that is summed.
        summed: Sums rows of whole dates.
        columns: The columns of `summed`; the table has them, too.
        updated: Brings sums up to date: of the standing ones, and of those of the changed dates as they were and as
            they are.
        group: Column of `summed` by which rows of the source are found again.
        unknown: Columns that are null in `updated` where only the dates that did not change can tell.
        finished: Makes the table of sums over all dates, and of the source's latest date.
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
        state: Column by which rows of a date are told apart when they are counted.
        measure: Amount that is summed.
        expected: Makes, of the upstream tables of some dates, the rows that the table ought to have: the date, state,
            key, measure, and `captured_at` of whatever was captured last for the row.
        versions: Entities' raw tables, and their keys, whose newest version says when a row changed last.
        same_total: Table upstream whose rows and measure are the same on each date.
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
    """Measures that are as usual on each date, beside the same weekday of the weeks before.

    Attributes:
        what: The measures in words, as the first ones of a sentence.
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
        made: How it is made.
        copied: How it is copied to the warehouse; None: it is not.
        fact: The fact that is made of it row by row, if any.
        mixes: Columns whose mix of values is watched.
        volume: Measures that are watched.
        drawn_by_date: Makes, of rows of some dates, what is drawn by date: title to date and value.
        drawn_by: Column whose values are counted and drawn.
    """

    table: Table
    made: ByDate | Cumulative
    copied: Copied | None = None
    fact: Fact | None = None
    mixes: tuple[Mix, ...] = ()
    volume: Volume | None = None
    drawn_by_date: Callable[[pl.DataFrame], Mapping[str, pl.DataFrame]] | None = None
    drawn_by: str | None = None

    @property
    def name(self) -> str:
        """Its name within the layer."""
        return self.table.name
