"""The lake of the settings. Only this module lets settings choose an engine."""

from contextlib import suppress
from dataclasses import replace
from datetime import date
from functools import lru_cache

from orders_lakehouse.delta.engines.choice import engine_named
from orders_lakehouse.delta.log import find
from orders_lakehouse.delta.object_store import LakeError, StorageUnavailableError
from orders_lakehouse.delta.table_properties import TableProperties
from orders_lakehouse.delta.tables import Lake
from orders_lakehouse.machine.private_files import make_home
from orders_lakehouse.settings import settings
from orders_lakehouse.start_notes import note_start, noted_start
from orders_lakehouse.tables import RAW


def configured_lake() -> Lake:
    """Return the lake of the current settings, with the engine that they name.

    If nothing on this machine names the first partition, the one that the lake records is noted and used.
    """
    current = settings()
    lake = Lake(current.lake_url, current.timezone, current.start_date, engine_named(current.engine))
    if _is_known():
        return lake
    recorded = _recorded_start(lake.url)
    if recorded is None or recorded == lake.start:
        return lake
    # A home that cannot be written holds no note, and every process looks again.
    with suppress(OSError):
        note_start(make_home(current.home), current.lake_url, recorded)
    return replace(lake, start=recorded)


def propose_start(start: date) -> None:
    """Note a first partition for the lake, if it is new and nothing names another one."""
    current = settings()
    lake = configured_lake()
    if not _is_known() and _recorded_start(lake.url) is None:
        note_start(make_home(current.home), current.lake_url, start)


def _is_known() -> bool:
    current = settings()
    return current.start_date_given is not None or noted_start(current.home, current.lake_url) is not None


@lru_cache(maxsize=8)
def _recorded_start(url: str) -> date | None:
    """Return the first partition that a lake records; None for a new lake, and for one that records or answers nothing.

    One look for each process is enough, because this process itself or a note knows of what comes later.
    """
    # The caller meets the same error where it uses the lake.
    with suppress(LakeError, StorageUnavailableError):
        for table in RAW:
            handle = find(Lake(url, timezone="UTC"), table)
            if handle is not None:
                return TableProperties.of(handle).start
    return None
