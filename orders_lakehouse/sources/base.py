"""What a source is: it says what has news, and hands over row versions in batches that count themselves.

Every function raises DatabaseError where a source is not as raw needs it, and DatabaseUnavailableError where it cannot
be reached.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol

import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.entities.base import Entity, SourceTotal
from orders_lakehouse.findings import Looked

# A transaction that took long commits rows with an older clock: so far back rows are counted again at each look.
OVERLAP = timedelta(hours=1)
# What a source remembers of its tables between two looks, by their names; REFUSED says of one that it was refused.
Marks = Mapping[str, Mapping[str, Any]]
# By capture date: rows, and the sum of their clocks in microseconds.
Clocks = Mapping[date, tuple[int, int]]
# Under which name the mark of a table says since when, and why, its source refuses to have it looked at.
REFUSED = "refused"


@dataclass(frozen=True)
class RefusedTable:
    """A table of a source that a sensor cannot look at; it follows the others.

    Attributes:
        table: Its name.
        since: When that was met first, by the source's clock.
        error: Why it was refused the last time.
    """

    table: str
    since: datetime
    error: str

    @property
    def in_words(self) -> str:
        """Which table is not followed, since when, and why."""
        return f"{self.table} is not followed since {self.since:%Y-%m-%d %H:%M} UTC: {self.error}"


@dataclass(frozen=True)
class Window:
    """Capture dates to read.

    Attributes:
        first: First capture date.
        last: Last capture date.
        calendar: First partition, whose window is open to the left, and when dates begin.
    """

    first: date
    last: date
    calendar: Calendar


@dataclass(frozen=True)
class Shape:
    """The columns of a table of a source.

    Attributes:
        types: Column that this user may read to its type as the source writes it, such as `numeric(12,2)`.
        seen_at: The source's now() when they were seen.
    """

    types: Mapping[str, str]
    seen_at: datetime


@dataclass(frozen=True)
class Batch:
    """Rows of a source as raw holds them, without `run_id`, and the counts that the source itself gives.

    Attributes:
        rows: Columns of the raw table but `run_id`.
        extras: What the source has beside them, row by row, under its names; a type that raw has no like of is text.
        counted: Rows of the whole window by date, counted by the source in the same snapshot: date, rows.
        shape: The columns of its table in the same snapshot.
    """

    rows: pl.DataFrame
    extras: pl.DataFrame
    counted: pl.DataFrame
    shape: Shape

    @property
    def in_window(self) -> int:
        """Rows in the whole window."""
        return int(self.counted["rows"].sum())


@dataclass(frozen=True)
class Newer:
    """Rows of a table that changed after an instant.

    Attributes:
        rows: How many.
        first: The first of their clocks; None for none.
        last: The last of their clocks; None for none.
    """

    rows: int
    first: datetime | None
    last: datetime | None


class Source(Protocol):
    """Where rows of some entities come from. Several sources may have rows of one entity."""

    @property
    def namespace(self) -> str:
        """Within which its keys are one row's; also its name in messages and in the column `namespace` of raw."""

    @property
    def entities(self) -> Sequence[Entity]:
        """The entities that it has rows of."""

    def now(self) -> datetime:
        """Its own clock."""

    def changed_dates(
        self, marks: Marks, in_raw: Callable[[Table], Clocks], calendar: Calendar
    ) -> tuple[list[date], Marks]:
        """Capture dates that have news.

        Args:
            marks: What the last look returned; empty for the first one.
            in_raw: Rows and clocks of a raw table by capture date; what the first look compares with.
            calendar: First partition, and when dates begin.

        Returns:
            Dates in order, and the marks for the next look. A table that is refused keeps nobody else waiting.
        """

    def read_versions(self, table: Table, window: Window) -> Iterator[Batch]:
        """Read the current version of every row whose change clock falls in a window of capture dates.

        Args:
            table: The raw table.
            window: Capture dates.

        Yields:
            Batches of bounded size; at least one, empty when nothing changed.
        """

    def newer(self, known: Callable[[Table, datetime], datetime | None]) -> tuple[dict[str, Newer], dict[str, str]]:
        """What changed after the newest change that is known.

        Args:
            known: The newest change of a raw table that is known, until the source's now; None for none.

        Returns:
            By name of the table, what is newer; and why a table could not be looked at.
        """

    def first_and_last_change(self) -> tuple[datetime, datetime] | None:
        """The first and the last instant at which anything changed, or happened by its own date; None without rows."""

    def changed_after(self, entity: Entity, begins: datetime, ends: datetime) -> tuple[int, datetime | None]:
        """How many rows of an entity happened from one instant to another and changed later, and the last change.

        Args:
            entity: An entity that is dated by its own date.
            begins: The first instant.
            ends: The instant after the last one.
        """

    def clocks_of(self, entity: Entity, keys: Sequence[str]) -> dict[str, datetime]:
        """The change clocks of those of some rows that the source has, by key as text.

        Args:
            entity: An entity with a key of one column.
            keys: Keys as text.
        """

    def totals(self, entity: Entity, total: SourceTotal, decimals: Sequence[int]) -> Iterator[pl.DataFrame]:
        """An amount of every row as the source works it out.

        Args:
            entity: The entity.
            total: The amount.
            decimals: To how many decimals it is rounded.

        Yields:
            The key (numbers as 64 bits), updated_at, and `to_<decimals>` as text for each number of decimals.
        """

    def look(self) -> Looked:
        """Whether its tables can be read, what its clock says, and what makes looks at it slow."""
