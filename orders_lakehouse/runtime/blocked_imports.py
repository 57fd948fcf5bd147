"""Faster imports: hide modules that are not needed, and collect garbage rarely.

Some libraries import another large library whenever it is installed.
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
    """Make imports of the modules fail in this block, in all threads, as if they were not installed."""
    absent = _Absent(modules)
    known = {name: sys.modules.pop(name) for name in modules if name in sys.modules}
    sys.meta_path.insert(0, absent)
    try:
        yield
    finally:
        sys.meta_path.remove(absent)
        sys.modules.update(known)


def collect_garbage_rarely() -> None:
    """Let Python collect garbage after 100,000 new objects, instead of 700.

    Imported objects stay, and searching them for garbage takes a quarter of the time that importing Dagster takes.
    """
    gc.set_threshold(100_000, 20, 50)
