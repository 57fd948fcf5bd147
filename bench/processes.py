"""Observe the time and the memory of processes from outside."""

import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from time import time
from typing import Any

import psutil

_SAMPLE_SECONDS = 0.1
# Seconds between samples of the server's memory; they take longer, because its processes share most of their memory.
_SAMPLES_PER_POSTGRES_SAMPLE = 10


@dataclass
class Samples:
    """Samples of the memory of a run's and the server's processes: instant and bytes; shared pages count by share."""

    run: list[tuple[float, int]] = field(default_factory=list)
    proportional: list[int] = field(default_factory=list)
    postgres: list[tuple[float, int]] = field(default_factory=list)


@dataclass(frozen=True)
class ObservedProcess:
    """The observations of a command from outside."""

    span: tuple[float, float]
    samples: Samples
    cpu_seconds: float
    postgres_cpu_seconds: float

    @property
    def numbers(self) -> dict[str, Any]:
        """Return cpu_seconds (including the server's processes in the same time) and proportional_peak_bytes."""
        return {
            "cpu_seconds": self.cpu_seconds,
            "postgres_cpu_seconds": self.postgres_cpu_seconds,
            "proportional_peak_bytes": max(self.samples.proportional, default=None),
        }


def cpu_of_children() -> float:
    """Return seconds of user and system time of all processes that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_of_family(root: int) -> float:
    """Return seconds of user and system time of a process, its children, and its ended children."""
    gone = psutil.Process(root).cpu_times()
    return sum(_of_each(root, _cpu_seconds)) + gone.children_user + gone.children_system


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


@contextmanager
def sampling(run: int, postmaster: int) -> Iterator[Samples]:
    """Sample the memory of a run's processes and of the server's, until the block ends."""
    samples = Samples()
    ended = threading.Event()

    def sample() -> None:
        for number in count():
            if ended.wait(_SAMPLE_SECONDS):
                return
            samples.run.append((time(), int(sum(_of_each(run, _resident_bytes)))))
            if number % _SAMPLES_PER_POSTGRES_SAMPLE == 0:
                samples.proportional.append(int(sum(_of_each(run, _proportional_bytes))))
                samples.postgres.append((time(), int(sum(_of_each(postmaster, _proportional_bytes)))))

    thread = threading.Thread(target=sample, name="memory", daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def _of_each(root: int, size: Callable[[psutil.Process], float]) -> Iterator[float]:
    """Return a number for a process and each of its living descendants."""
    with suppress(psutil.Error):
        process = psutil.Process(root)
        for member in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                yield size(member)


def _resident_bytes(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


def _proportional_bytes(process: psutil.Process) -> int:
    """Return the bytes of a process, with its share of shared pages where the system reports it (Linux)."""
    memory = process.memory_full_info()
    return int(getattr(memory, "pss", memory.rss))
