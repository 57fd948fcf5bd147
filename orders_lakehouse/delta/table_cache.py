"""A cache of open Delta tables for readers. Opening a table reads its log, which takes longer the more files it has.

A cached handle of a table on disk is current as long as no newer commit exists. Readers share handles. A writer opens
its own handle, and may put it into the cache after its commit. `opening.py` checks whether a table fits this program.
"""

from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from deltalake import DeltaTable

from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.corruption import require_whole

# Most handles in the cache; a run reads some twenty tables, a few of them at two versions.
_REMEMBERED = 64
# Most handles of one table; a long-lived process sees every version, but returns to few of them.
_VERSIONS = 4


class _Commit(NamedTuple):
    """The identity of a commit file; a table that was removed and made again has other files with the same names."""

    inode: int
    size: int
    changed: int


_handles: OrderedDict[tuple[str, int], tuple[_Commit, DeltaTable]] = OrderedDict()
_latest: dict[str, int] = {}
_lock = Lock()


def open_own(location: str, version: int | None = None) -> DeltaTable:
    """Open a table for the caller alone.

    Raises:
        TableNotFoundError: The table does not exist.
        LakeError: Its log is damaged.
    """
    handle = DeltaTable(location, version=version, storage_options=object_store.options(location))
    require_whole(handle)
    return handle


def open_shared(location: str, version: int | None = None) -> DeltaTable:
    """Open a table to read it, at its latest version or another one; the caller must not change the handle.

    Raises:
        TableNotFoundError: The table does not exist.
        LakeError: Its log is damaged.
    """
    if object_store.is_s3(location):
        return open_own(location, version)
    handle = _remembered(location, version)
    if handle is None:
        handle = open_own(location, version)
        _remember(location, handle, is_latest=version is None)
    return handle


def share(location: str, handle: DeltaTable) -> None:
    """Put the caller's own handle into the cache after its commit; the caller must not change it again."""
    if not object_store.is_s3(location):
        _remember(location, handle, is_latest=True)


def _remembered(location: str, version: int | None) -> DeltaTable | None:
    with _lock:
        wanted = _latest.get(location) if version is None else version
        if wanted is None:
            return None
        known = _handles.get((location, wanted))
        # The version differs if a caller wrote through a shared handle against the rule.
        if known is None or known[0] != _commit(location, wanted) or known[1].version() != wanted:
            return None
        if version is None and _commit(location, wanted + 1) is not None:
            return None
        _handles.move_to_end((location, wanted))
        return known[1]


def _remember(location: str, handle: DeltaTable, *, is_latest: bool) -> None:
    version = handle.version()
    commit = _commit(location, version)
    if commit is None:
        # The log no longer has this commit, so nothing tells later whether the table is still the same.
        return
    with _lock:
        _handles[location, version] = (commit, handle)
        if is_latest:
            _latest[location] = version
        versions = [known for known in _handles if known[0] == location]
        for known in versions[:-_VERSIONS]:
            del _handles[known]
        while len(_handles) > _REMEMBERED:
            _handles.popitem(last=False)


def _commit(location: str, version: int) -> _Commit | None:
    try:
        status = Path(location, "_delta_log", f"{version:020}.json").stat()
    except OSError:
        # A missing or unreadable commit is not cached; opening the table reports the error.
        return None
    return _Commit(status.st_ino, status.st_size, status.st_mtime_ns)
