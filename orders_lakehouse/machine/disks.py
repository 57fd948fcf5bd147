"""Room on the disks that the lakehouse writes to."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orders_lakehouse.findings import ERROR, WARNING, Finding

_GB = 10**9
# Of a large disk a tenth is much: so many bytes are enough for anybody's day.
_ENOUGH_SHARE, _ENOUGH_BYTES = 0.1, 10 * _GB
# With less, a commit or Dagster's storage may find no room any time.
_SCARCE_SHARE, _SCARCE_BYTES = 0.01, _GB // 2
# A table that is written anew stands twice until its old files are removed.
_TIMES = 2


@dataclass(frozen=True)
class Disk:
    """A file system.

    Attributes:
        used_for: What lies there, in words.
        path: Where.
        free: Bytes that are free.
        total: All of its bytes.
    """

    used_for: str
    path: Path
    free: int
    total: int

    @property
    def in_words(self) -> str:
        """How much is free."""
        return f"{self.free / _GB:,.1f} GB free of {self.total / _GB:,.1f} for {self.used_for}"


def disks(places: Mapping[str, Path]) -> list[Disk]:
    """The file systems of some places, each once.

    Args:
        places: What lies at a place, in words, to the place; one that is not there yet counts as its parent.
    """
    found: dict[int, tuple[list[str], Path]] = {}
    for used_for, place in places.items():
        path = next(parent for parent in (place, *place.parents) if parent.exists())
        found.setdefault(path.stat().st_dev, ([], path))[0].append(used_for)
    usages = [(used_for, path, shutil.disk_usage(path)) for used_for, path in found.values()]
    return [Disk(", ".join(used_for), path, usage.free, usage.total) for used_for, path, usage in usages]


def finding_of_room(disk: Disk, largest: int) -> Finding | None:
    """What is wrong with the room of a disk; None where there is enough.

    Args:
        disk: The disk.
        largest: Bytes of the largest table of the lake that lies there; 0 where none does.
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
        "Make room. These remove what no version of a table and no run needs any more:",
        ["lakehouse maintain", "lakehouse prune"],
    )
