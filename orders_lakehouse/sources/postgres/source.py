"""The shop's Postgres as a source: every entity, by the change clock of each row."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.entities.base import Entity, SourceTotal
from orders_lakehouse.entities.registry import ENTITIES
from orders_lakehouse.findings import Looked
from orders_lakehouse.sources.base import Batch, Clocks, Marks, Newer, Window
from orders_lakehouse.sources.postgres import changes, health, lookups, totals, versions
from orders_lakehouse.sources.postgres.columns import SCHEMA


@dataclass(frozen=True)
class PostgresSource:
    """The database of SHOP_DATABASE_URL. What each function does is said by `Source`."""

    namespace: str = SCHEMA
    entities: Sequence[Entity] = ENTITIES

    def now(self) -> datetime:
        """What the clock of the database says."""
        return lookups.now()

    def changed_dates(
        self, marks: Marks, in_raw: Callable[[Table], Clocks], calendar: Calendar
    ) -> tuple[list[date], Marks]:
        """Capture dates that have news, by an index of each table."""
        return changes.changed_dates(marks, in_raw, calendar)

    def read_versions(self, table: Table, window: Window) -> Iterator[Batch]:
        """Row versions of a window, in one snapshot."""
        return versions.read_versions(table, window)

    def newer(self, known: Callable[[Table, datetime], datetime | None]) -> tuple[dict[str, Newer], dict[str, str]]:
        """What changed after the newest change that is known."""
        return lookups.newer(known)

    def first_and_last_change(self) -> tuple[datetime, datetime] | None:
        """The first and the last instant at which anything changed or happened."""
        return lookups.first_and_last_change()

    def changed_after(self, entity: Entity, begins: datetime, ends: datetime) -> tuple[int, datetime | None]:
        """How many rows happened from one instant to another and changed later, and the last change."""
        return lookups.changed_after(entity, begins, ends)

    def clocks_of(self, entity: Entity, keys: Sequence[str]) -> dict[str, datetime]:
        """The change clocks of those of some rows that the database has."""
        return lookups.clocks_of(entity, keys)

    def totals(self, entity: Entity, total: SourceTotal, decimals: Sequence[int]) -> Iterator[pl.DataFrame]:
        """An amount of every row as the database works it out."""
        return totals.totals(entity, total, decimals)

    def look(self) -> Looked:
        """Whether its tables can be read, what its clock says, and where an index is missing."""
        return health.look_at_shop()
