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
    if current.start_date_given or noted_start(current.home, current.lake_url):
        return lake
    recorded = None
    # The caller meets the same error where it uses the lake.
    with suppress(LakeError, StorageUnavailableError):
        recorded = _recorded_start(lake.url)
    if recorded is None or recorded == lake.start:
        return lake
    # A home that cannot be written holds no note, and every process looks again.
    with suppress(OSError):
        note_start(make_home(current.home), current.lake_url, recorded)
    return replace(lake, start=recorded)


def propose_start(start: date) -> None:
    """Note a first partition for a new lake, unless it is set; an earlier proposal no longer counts.

    Raises:
        LakeError: The lake cannot be used.
        StorageUnavailableError: Its storage does not answer.
    """
    current = settings()
    if current.start_date_given is None and _recorded_start(current.lake_url) is None:
        note_start(make_home(current.home), current.lake_url, start)


@lru_cache(maxsize=8)
def _recorded_start(url: str) -> date | None:
    """Return the first partition that a lake records; None for a new lake, and for one of an older program.

    One look for each process is enough, because this process itself or a note knows of what comes later.
    """
    lake = Lake(url, timezone="UTC")
    handles = (find(lake, table) for table in RAW)
    return next((TableProperties.of(handle).start for handle in handles if handle is not None), None)
