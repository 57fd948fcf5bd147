"""The memory that the lakehouse may use, and how concurrent batches share it."""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition

from orders_lakehouse.settings import settings

# Files with the memory limit of a container (control groups, version 2 and 1). They hold "max" or a huge number if
# there is no limit.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_GIGABYTE = 1_000_000_000
# Bytes that a process holds before it has read a row.
FIXED_BYTES = 700_000_000
# Batches that a step works on at once, and steps that run at once.
AT_ONCE, _STEPS = 2, 2
_SHARES = AT_ONCE * _STEPS


def memory_limit() -> int:
    """Return the bytes that a run's process may use: those of the settings, or half of the machine or container."""
    given = settings().memory_gb
    return int(given * _GIGABYTE) if given is not None else machine_memory() // 2


def machine_memory() -> int:
    """Return the bytes of the machine's memory, or of the container's limit."""
    of_machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = (path.read_text().strip() for path in _LIMITS if path.exists())
    return min([of_machine, *(int(limit) for limit in limits if limit.isdigit())])


def share() -> int:
    """Return the bytes that one concurrent batch may use in addition to `FIXED_BYTES`; at least one."""
    return max(1, (memory_limit() - FIXED_BYTES) // _SHARES)


class Shares:
    """Shares of the memory, which threads reserve in the order of their requests."""

    def __init__(self, number: int) -> None:
        """Create a number of shares."""
        self._number = self._left = number
        self._waiting: deque[object] = deque()
        self._changed = Condition()

    @contextmanager
    def reserved(self, size: int) -> Iterator[None]:
        """Wait until there are shares for a number of bytes, and hold them; a size beyond all shares gets all of them.

        A thread that holds shares must not request more, because two such threads would wait for each other.
        """
        number, mine = min(self._number, -(-size // share()) or 1), object()
        with self._changed:
            self._waiting.append(mine)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is mine and self._left >= number)
                self._left -= number
            finally:
                self._waiting.remove(mine)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._left += number
                self._changed.notify_all()


# Shares of this process.
SHARES = Shares(_SHARES)
