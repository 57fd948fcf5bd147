"""Cleanse the versions of an entity, and judge the rows that count."""

from collections.abc import Iterable
from datetime import date

import narwhals as nw

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.types import Frame
from orders_lakehouse.contracts.waivers import Waiver
from orders_lakehouse.entities.base import ByOwnDate, Entity
from orders_lakehouse.entities.children import DELETED, with_order
from orders_lakehouse.transforms.columns import with_local_date
from orders_lakehouse.transforms.split import keeping_original, split
from orders_lakehouse.transforms.versions import current_versions, with_candidates


def cleanse(
    entity: Entity,
    versions: Frame,
    dates: tuple[date, date],
    calendar: Calendar,
    waivers: Iterable[Waiver] = (),
    states: Frame | None = None,
) -> tuple[Frame, Frame]:
    """Cleanse rows of an entity, and split them by their contract.

    Args:
        entity: The entity.
        versions: Rows of its raw table. For an entity that counts by capture date: those of the dates. Otherwise: all
            versions of the rows that ever counted, or ever named a row that counted, at one of the dates.
        dates: First and last date.
        calendar: First partition, and when dates begin.
        waivers: The waivers in force.
        states: For an entity with a parent: the parent's key, order_date, order_state, and what children inherit; an
            unknown parent has no date.

    Returns:
        Rows of its cleansed table and of its quarantine.
    """
    is_deleted = ~nw.col("deleted_at").is_null()
    if isinstance(entity.dating, ByOwnDate):
        # The original columns are copied before the date is added, because quarantine shows the row as captured.
        kept = keeping_original(current_versions(versions, entity.key), entity.raw)
        rows = within(entity.dating.dated(kept, calendar), dates)
    elif entity.parent:
        assert states is not None  # noqa: S101 (children are dated by their parents)
        # Originals are copied after the join with the parent, because a join copies every column that it carries.
        current = with_order(current_versions(versions, entity.key), states, entity.parent.key[0], *dates)
        rows = keeping_original(current, entity.raw)
        is_deleted = is_deleted | (nw.col("order_state") == DELETED)
    else:
        rows = keeping_original(with_candidates(versions, entity.key), entity.raw)
        rows = rows.with_columns(versions=nw.lit(1).cast(nw.Int64))
    judged = entity.cleanse(rows).with_columns(is_deleted=is_deleted)
    for name, instant in entity.local_dates.items():
        judged = with_local_date(judged, name, instant, calendar)
    return split(judged, entity.cleansed, entity.quarantine, waivers)


def within(dated: Frame, dates: tuple[date, date]) -> Frame:
    """Return the rows whose `order_date` is one of the dates."""
    first, last = map(nw.lit, dates)
    return dated.filter(nw.col("order_date").is_between(first, last))
