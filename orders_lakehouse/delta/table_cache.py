"""Open Delta tables that are remembered, to read them. Opening one reads its log: the more files, the longer.

So a handle of a table on disk is remembered: as long as no commit follows the one that it knows, it knows everything.
Handles are shared; a writer opens one of its own, and may give it away when done. Whether a table is as this program
expects it is checked in `opening.py`.
"""

from collections import OrderedDict
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from deltalake import DeltaTable

from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.corruption import require_whole

# Handles; a run reads some twenty tables, a few of them in two versions.
_REMEMBERED = 64
# Handles of one table; a process that lives long sees every version, and goes back to few of them.
_VERSIONS = 4


class _Commit(NamedTuple):
    """By which a commit is known again: a table that was removed and made anew has others of the same names."""

    inode: int
    size: int
    changed: int


_handles: OrderedDict[tuple[str, int], tuple[_Commit, DeltaTable]] = OrderedDict()
_latest: dict[str, int] = {}
_lock = Lock()


def own(location: str, version: int | None = None) -> DeltaTable:
    """Open a table for oneself.

    Raises:
        TableNotFoundError: Nobody has made it.
        LakeError: Its log is damaged.
    """
    handle = DeltaTable(location, version=version, storage_options=object_store.options(location))
    require_whole(handle)
    return handle


def shared(location: str, version: int | None = None) -> DeltaTable:
    """Open a table to read it, at its latest version or at another one; the handle must be left as it is.

    Raises:
        TableNotFoundError: Nobody has made it.
        LakeError: Its log is damaged.
    """
    if object_store.is_s3(location):
        return own(location, version)
    found = _remembered(location, version)
    if found is None:
        found = own(location, version)
        _remember(location, found, is_latest=version is None)
    return found


def give(location: str, handle: DeltaTable) -> None:
    """Let everybody read through a handle of one's own, at the version just committed; it must not be moved again."""
    if not object_store.is_s3(location):
        _remember(location, handle, is_latest=True)


def _remembered(location: str, version: int | None) -> DeltaTable | None:
    with _lock:
        wanted = _latest.get(location) if version is None else version
        if wanted is None:
            return None
        known = _handles.get((location, wanted))
        # A handle through which somebody wrote in spite of it has moved on.
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
        # Cleaned up, as old commits are: nothing tells whether this table is still the same.
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
        found = Path(location, "_delta_log", f"{version:020}.json").stat()
    except OSError:
        # Gone, or not to be looked at: then nothing is remembered, and whoever opens the table is told what is wrong.
        return None
    return _Commit(found.st_ino, found.st_size, found.st_mtime_ns)
