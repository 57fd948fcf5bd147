"""How much memory the lakehouse may use, and how those who work at once share it."""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Condition

from orders_lakehouse.settings import settings

# What a container may use (control groups, version 2 and 1); "max", or a number beyond all machines, where it is free.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_GIGABYTE = 1_000_000_000
# What a process holds before it has read a row.
FIXED_BYTES = 700_000_000
# Portions or batches that a step works on at once, and steps that may do so.
AT_ONCE, _STEPS = 2, 2
_SHARES = AT_ONCE * _STEPS


def memory_limit() -> int:
    """Bytes that a run's process may use: those of the settings, or half of what the machine or container has."""
    given = settings().memory_gb
    return int(given * _GIGABYTE) if given is not None else machine_memory() // 2


def machine_memory() -> int:
    """Bytes that the machine has, or that the container may use."""
    of_machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    said = (path.read_text().strip() for path in _LIMITS if path.exists())
    return min([of_machine, *(int(text) for text in said if text.isdigit())])


def share() -> int:
    """Bytes that one of those who work at once may use beside what the process holds as it is; at least one."""
    return max(1, (memory_limit() - FIXED_BYTES) // _SHARES)


class Shares:
    """Shares of the memory, lent to whoever works: first come, first served."""

    def __init__(self, number: int) -> None:
        """So many of them."""
        self._number = self._left = number
        self._waiting: deque[object] = deque()
        self._changed = Condition()

    @contextmanager
    def lent(self, size: int) -> Iterator[None]:
        """Wait until there are shares for so many bytes: all of them, where they are not enough.

        Whoever has some may not ask for more: two that do would wait for one another.
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


# Those of this process.
SHARES = Shares(_SHARES)
