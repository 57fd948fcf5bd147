"""Files and folders that only the user who runs the lakehouse can read."""

import os
from pathlib import Path

UMASK = 0o077
_OTHERS = 0o077
_STICKY = 0o1000
# Entries of LAKEHOUSE_HOME that the lakehouse makes. A folder with other entries keeps its mode.
_OWN_ENTRIES = frozenset(
    [
        "postgres",
        "postgres.lock",
        "postgres.place",
        "postgres.new",
        "lake",
        "logs",
        "dagster",
        "dbt",
        "sensors",
        "demo.lock",
        "start_dates.json",
        "pr-checks",
        "pr_checks.lock",
    ]
)


def keep_private() -> None:
    """Create folders with mode 0700 and files with 0600 from now on, also in processes that this one starts."""
    os.umask(UMASK)


def make_home(home: Path) -> Path:
    """Create LAKEHOUSE_HOME with mode 0700, or tighten the mode of an existing one; return it.

    Missing parents get the same mode; existing parents keep theirs. A home with entries that the lakehouse does not
    make keeps its mode too, because other users may need to pass through it.
    """
    missing = [folder for folder in (home, *home.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    status = home.stat()
    is_own = status.st_uid == os.geteuid() and not status.st_mode & _STICKY
    if is_own and not is_closed(home) and _OWN_ENTRIES.issuperset(entry.name for entry in home.iterdir()):
        home.chmod(0o700)
    return home


def is_closed(folder: Path) -> bool:
    """Return whether only the owner can enter a folder; the group of a server's user may pass through it."""
    mode = folder.stat().st_mode & _OTHERS
    return mode in (0, 0o010)
