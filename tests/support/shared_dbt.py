"""A dbt process that several runs of this process use one after the other.

A run starts a dbt process of its own, which takes two seconds of processor time. Runs of tests take this one instead.
"""

import atexit

from orders_lakehouse.runtime.dbt_server import KeptDbt

# Runs for one process; dbt remembers something of each build.
_RUNS = 20


class SharedDbt(KeptDbt):
    """A dbt process that stays when a run ends."""

    runs = 0

    def stop(self) -> None:
        """Leave the process to the next run."""

    def end(self) -> None:
        """End the process."""
        super().stop()


_current: list[SharedDbt] = []


def shared_dbt() -> SharedDbt:
    """Return the process for a run that begins; no other run of this process may be at work."""
    if _current and (_current[0].runs >= _RUNS or not _current[0].is_running):
        _current.pop().end()
    if not _current:
        _current.append(SharedDbt())
        atexit.register(_current[0].end)
    _current[0].runs += 1
    return _current[0]
