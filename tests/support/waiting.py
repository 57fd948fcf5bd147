"""Waiting for what another process or thread does."""

import time
from collections.abc import Callable


def wait_for(holds: Callable[[], bool], seconds: float = 120, every: float = 0.02) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(every)
