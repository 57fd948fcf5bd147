"""The registry of sources."""

from collections.abc import Sequence

from orders_lakehouse.entities.base import Entity
from orders_lakehouse.sources.base import Source
from orders_lakehouse.sources.postgres.source import PostgresSource

SOURCES: tuple[Source, ...] = (PostgresSource(),)


def sources_of(entity: Entity) -> Sequence[Source]:
    """Return the sources that have rows of an entity."""
    return [source for source in SOURCES if entity in source.entities]
