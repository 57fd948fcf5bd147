"""Imports that take less time: without what they can do without, and with fewer looks for garbage.

Some libraries import all of another one wherever that is installed.
"""

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Absent(MetaPathFinder):
    def __init__(self, modules: Sequence[str]) -> None:
        self.modules = modules

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 (Python passes it)
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if name in self.modules:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


@contextmanager
def without(*modules: str) -> Iterator[None]:
    """In this block, whoever imports one of the modules, in any thread, is told that it is not installed."""
    absent = _Absent(modules)
    known = {name: sys.modules.pop(name) for name in modules if name in sys.modules}
    sys.meta_path.insert(0, absent)
    try:
        yield
    finally:
        sys.meta_path.remove(absent)
        sys.modules.update(known)


def collect_garbage_rarely() -> None:
    """Have Python look for garbage once 100,000 objects are new, instead of 700.

    What a command imports stays, and to look through it takes a quarter of the time that Dagster takes to import.
    """
    gc.set_threshold(100_000, 20, 50)
