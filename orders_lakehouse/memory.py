"""How much memory the lakehouse may use."""

import os
from pathlib import Path

from orders_lakehouse.settings import settings

# What a container may use (control groups, version 2 and 1); "max", or a number beyond all machines, where it is free.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_GIGABYTE = 1_000_000_000


def memory_limit() -> int:
    """Bytes that a run's process may use: those of the settings, or half of what the machine or container has."""
    given = settings().memory_gb
    return int(given * _GIGABYTE) if given is not None else machine_memory() // 2


def machine_memory() -> int:
    """Bytes that the machine has, or that the container may use."""
    of_machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    said = (path.read_text().strip() for path in _LIMITS if path.exists())
    return min([of_machine, *(int(text) for text in said if text.isdigit())])
