"""The shop's Postgres as a source: it has every entity, and each row has a change clock."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.table import Table
from orders_lakehouse.entities.base import Entity, SourceTotal
from orders_lakehouse.entities.registry import ENTITIES
from orders_lakehouse.findings import Examination
from orders_lakehouse.sources.base import Batch, Clocks, Marks, Newer, Window
from orders_lakehouse.sources.postgres import changes, health, lookups, totals, versions
from orders_lakehouse.sources.postgres.columns import SCHEMA


@dataclass(frozen=True)
class PostgresSource:
    """The database of SHOP_DATABASE_URL; `Source` describes each method."""

    namespace: str = SCHEMA
    entities: Sequence[Entity] = ENTITIES

    def now(self) -> datetime:
        """Return the instant of the database's clock."""
        return lookups.now()

    def changed_dates(
        self, marks: Marks, in_raw: Callable[[Table], Clocks], calendar: Calendar
    ) -> tuple[list[date], Marks]:
        """Return the capture dates that have news, by an index on each table."""
        return changes.changed_dates(marks, in_raw, calendar)

    def read_versions(self, table: Table, window: Window) -> Iterator[Batch]:
        """Yield row versions of a window, from one snapshot."""
        return versions.read_versions(table, window)

    def newer(self, known: Callable[[Table, datetime], datetime | None]) -> tuple[dict[str, Newer], dict[str, str]]:
        """Return the rows that changed after the newest known change."""
        return lookups.newer(known)

    def first_and_last_change(self) -> tuple[datetime, datetime] | None:
        """Return the first and the last instant of all change clocks and own dates of rows."""
        return lookups.first_and_last_change()

    def changed_after(self, entity: Entity, begins: datetime, ends: datetime) -> tuple[int, datetime | None]:
        """Count the rows dated in an interval that changed after it; return their number and the last change."""
        return lookups.changed_after(entity, begins, ends)

    def clocks_of(self, entity: Entity, keys: Sequence[str]) -> dict[str, datetime]:
        """Return the change clocks of rows by key; keys that the database lacks are left out."""
        return lookups.clocks_of(entity, keys)

    def totals(self, entity: Entity, total: SourceTotal, decimals: Sequence[int]) -> Iterator[pl.DataFrame]:
        """Yield an amount of every row as the database computes it."""
        return totals.totals(entity, total, decimals)

    def look(self) -> Examination:
        """Report whether its tables can be read, whether its clock is right, and where an index is missing."""
        return health.examine_shop()
