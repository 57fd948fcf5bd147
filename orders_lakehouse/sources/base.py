"""The protocol of a source: it reports which dates have news, and yields row versions in batches with their counts.

Every function raises DatabaseError if a source does not fit raw, and DatabaseUnavailableError if it cannot be reached.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol

import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.entities.base import Entity, SourceTotal
from orders_lakehouse.findings import Examination

# Time before the last look for which rows are counted again: a long transaction commits rows with an older clock.
OVERLAP = timedelta(hours=1)
# State that a source keeps for each of its tables between two looks, by name of the table.
Marks = Mapping[str, Mapping[str, Any]]
# Rows and the sum of their change clocks in microseconds, by capture date.
Clocks = Mapping[date, tuple[int, int]]
# Key in the mark of a table that says since when, and why, the source refuses to read it.
REFUSED = "refused"


@dataclass(frozen=True)
class RefusedTable:
    """A table of a source that a sensor cannot read; the sensor still follows the others.

    Attributes:
        table: Name of the table.
        since: Instant of the first refusal, by the source's clock.
        error: Message of the last refusal.
    """

    table: str
    since: datetime
    error: str

    @property
    def in_words(self) -> str:
        """Return which table is not followed, since when, and why."""
        return f"{self.table} is not followed since {self.since:%Y-%m-%d %H:%M} UTC: {self.error}"


@dataclass(frozen=True)
class Window:
    """Capture dates to read.

    Attributes:
        first: First capture date.
        last: Last capture date.
        calendar: Calendar, with the first partition, whose window also takes all earlier changes.
    """

    first: date
    last: date
    calendar: Calendar


@dataclass(frozen=True)
class Shape:
    """The columns of a table of a source.

    Attributes:
        types: Type of each readable column as the source writes it, such as `numeric(12,2)`, by column.
        seen_at: The source's now() when they were read.
    """

    types: Mapping[str, str]
    seen_at: datetime


@dataclass(frozen=True)
class Batch:
    """Rows of a source in the columns of raw, with counts by the source itself.

    Attributes:
        rows: Columns of the raw table except `run_id`.
        extras: Further columns of the source for the same rows, under its names; types that raw does not have are text.
        counted: Rows of the whole window, counted by the source in the same snapshot: date, rows.
        shape: Columns of the source's table in the same snapshot.
    """

    rows: pl.DataFrame
    extras: pl.DataFrame
    counted: pl.DataFrame
    shape: Shape

    @property
    def in_window(self) -> int:
        """Return the number of rows in the whole window."""
        return int(self.counted["rows"].sum())


@dataclass(frozen=True)
class Newer:
    """Rows of a table that changed after an instant.

    Attributes:
        rows: Number of rows.
        first: Earliest change clock; None without rows.
        last: Latest change clock; None without rows.
    """

    rows: int
    first: datetime | None
    last: datetime | None


class Source(Protocol):
    """A place that rows of some entities come from. Several sources may have rows of one entity."""

    @property
    def namespace(self) -> str:
        """Return the range in which its keys are unique; also its name in messages and in column `namespace` of raw."""

    @property
    def entities(self) -> Sequence[Entity]:
        """Return the entities of which the source has rows."""

    def now(self) -> datetime:
        """Return the instant of the source's own clock."""

    def changed_dates(
        self, marks: Marks, in_raw: Callable[[Table], Clocks], calendar: Calendar
    ) -> tuple[list[date], Marks]:
        """Return the capture dates that have news.

        Args:
            marks: Marks that the last look returned; empty for the first look.
            in_raw: Returns rows and clocks of a raw table by capture date; the first look compares with them.
            calendar: Calendar of the lake, with the first partition.

        Returns:
            Dates in order, and the marks for the next look. A refused table does not hold up the others.
        """

    def read_versions(self, table: Table, window: Window) -> Iterator[Batch]:
        """Read the current version of every row whose change clock falls in a window of capture dates.

        Args:
            table: The raw table.
            window: Capture dates.

        Yields:
            Batches of bounded size; a single empty one if nothing changed.
        """

    def newer(self, known: Callable[[Table, datetime], datetime | None]) -> tuple[dict[str, Newer], dict[str, str]]:
        """Return the rows that changed after the newest known change.

        Args:
            known: Returns the newest known change of a raw table until the source's now; None without any.

        Returns:
            Newer rows by name of the table; and error messages of tables that could not be read, by name.
        """

    def first_and_last_change(self) -> tuple[datetime, datetime] | None:
        """Return the first and the last instant of all change clocks and own dates of rows; None without rows."""

    def changed_after(self, entity: Entity, begins: datetime, ends: datetime) -> tuple[int, datetime | None]:
        """Count the rows dated in an interval that changed after it; return their number and the last change.

        Args:
            entity: An entity that is dated by its own date.
            begins: First instant of the interval.
            ends: First instant after the interval.
        """

    def clocks_of(self, entity: Entity, keys: Sequence[str]) -> dict[str, datetime]:
        """Return the change clocks of rows by key as text; keys that the source lacks are left out.

        Args:
            entity: An entity with a key of one column.
            keys: Keys as text.
        """

    def totals(self, entity: Entity, total: SourceTotal, decimals: Sequence[int]) -> Iterator[pl.DataFrame]:
        """Yield an amount of every row as the source computes it.

        Args:
            entity: The entity.
            total: The amount.
            decimals: Numbers of decimals to round to.

        Yields:
            The key (numbers as 64 bits), updated_at, and `to_<decimals>` as text for each number of decimals.
        """

    def look(self) -> Examination:
        """Report whether its tables can be read, whether its clock is right, and what makes reading slow."""
