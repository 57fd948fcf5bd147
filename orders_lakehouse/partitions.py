"""The daily partitions definition that all partitioned assets share, and the dates of a run."""

from collections.abc import Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Any

import dagster as dg

from orders_lakehouse.settings import settings


class _Daily(dg.DailyPartitionsDefinition):
    """Daily partitions with a cached list, because Dagster lists them for each input and each check result."""

    def get_partition_keys(
        self, current_time: datetime | None = None, dynamic_partitions_store: Any = None
    ) -> Sequence[str]:
        """Return all keys in order: dates (ISO 8601)."""
        with dg.partition_loading_context(current_time, dynamic_partitions_store):
            return list(self._up_to(self.get_last_partition_key()))

    @lru_cache(maxsize=4)  # noqa: B019 (there is one definition, for the whole process)
    def _up_to(self, last: str | None) -> tuple[str, ...]:  # noqa: ARG002 (key of the cache)
        return tuple(super().get_partition_keys())


# Partitions for capture dates (raw) and business dates (all later layers), so that one run can cover all layers.
# `end_offset=2` includes today and tomorrow, because rows change today, and a clock up to a day ahead writes tomorrow.
# The first date is that of the lake, as noted on this machine: an import must not read the lake.
# Dates follow the lake's time zone, so "today" begins at the shop's midnight.
DAILY = _Daily(start_date=settings().start_date.isoformat(), timezone=settings().timezone, end_offset=2)


def run_dates(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> tuple[date, date]:
    """Return the first and last date of this run, inclusive; the whole range of partitions if it names none."""
    if context.has_partition_key_range:
        keys = context.partition_key_range
        return date.fromisoformat(keys.start), date.fromisoformat(keys.end)
    if context.has_partition_key:
        return date.fromisoformat(context.partition_key), date.fromisoformat(context.partition_key)
    return settings().start_date, date.fromisoformat(str(DAILY.get_last_partition_key()))


def range_tags(first: date, last: date) -> dict[str, str]:
    """Return the tags that request a run for a range of dates."""
    return {"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)}
