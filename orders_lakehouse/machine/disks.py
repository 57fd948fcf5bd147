"""Free space on the disks that the lakehouse writes to."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orders_lakehouse.findings import ERROR, WARNING, Finding

_GB = 10**9
# Share of a disk that is enough free space, and bytes that are enough on a large disk.
_ENOUGH_SHARE, _ENOUGH_BYTES = 0.1, 10 * _GB
# Share and bytes below which the next commit may fail for lack of space.
_SCARCE_SHARE, _SCARCE_BYTES = 0.01, _GB // 2
# Copies of a table that must fit: a rewritten table is stored twice until its old files are removed.
_TIMES = 2


@dataclass(frozen=True)
class Disk:
    """A file system.

    Attributes:
        used_for: What it stores, for people.
        path: A folder on it.
        free: Free bytes.
        total: Total bytes.
    """

    used_for: str
    path: Path
    free: int
    total: int

    @property
    def in_words(self) -> str:
        """Return the free space, for people."""
        return f"{self.free / _GB:,.1f} GB free of {self.total / _GB:,.1f} for {self.used_for}"


def disks(places: Mapping[str, Path]) -> list[Disk]:
    """Return the file systems of some folders, each once.

    Args:
        places: Folders by their use, for people; a folder that does not exist yet counts as its parent.
    """
    by_device: dict[int, tuple[list[str], Path]] = {}
    for used_for, place in places.items():
        path = next(parent for parent in (place, *place.parents) if parent.exists())
        by_device.setdefault(path.stat().st_dev, ([], path))[0].append(used_for)
    usages = [(used_for, path, shutil.disk_usage(path)) for used_for, path in by_device.values()]
    return [Disk(", ".join(used_for), path, usage.free, usage.total) for used_for, path, usage in usages]


def finding_of_room(disk: Disk, largest: int) -> Finding | None:
    """Return a finding for the free space of a disk; None if there is enough.

    Args:
        disk: The disk.
        largest: Bytes of the largest table of the lake on this disk; 0 if it has none.
    """
    enough = max(min(_ENOUGH_SHARE * disk.total, _ENOUGH_BYTES), _TIMES * largest)
    if disk.free >= enough:
        return None
    scarce = min(_SCARCE_SHARE * disk.total, _SCARCE_BYTES)
    return Finding(
        ERROR if disk.free < scarce else WARNING,
        f"disk of {disk.path}",
        disk.in_words,
        f"at least {enough / _GB:,.1f} GB: a tenth of the disk, 10 GB at most, and room for the largest table twice",
        "Make room. These commands remove files that no version of a table and no run needs any more:",
        ["lakehouse maintain", "lakehouse prune"],
    )
