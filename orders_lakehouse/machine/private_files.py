"""Files and folders that only the user who runs the lakehouse can read; other users of the machine stay outside."""

import os
from pathlib import Path

UMASK = 0o077
_OTHERS = 0o077
_STICKY = 0o1000
# Entries of LAKEHOUSE_HOME that the lakehouse makes. A folder with others in it is somebody's, and keeps its mode.
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
        "pr-checks",
        "pr_checks.lock",
    ]
)


def keep_private() -> None:
    """Make this process and those that it starts create folders with mode 0700 and files with 0600."""
    os.umask(UMASK)


def make_home(home: Path) -> Path:
    """Make LAKEHOUSE_HOME with mode 0700, or tighten one of an earlier version; return it.

    Parents that are missing are made like it; those that exist keep their modes. A folder that holds anything beside
    what the lakehouse makes keeps its mode too, as others may need to pass.
    """
    missing = [folder for folder in (home, *home.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
    found = home.stat()
    is_own = found.st_uid == os.geteuid() and not found.st_mode & _STICKY
    if is_own and not is_closed(home) and _OWN_ENTRIES.issuperset(entry.name for entry in home.iterdir()):
        home.chmod(0o700)
    return home


def is_closed(folder: Path) -> bool:
    """Whether nobody but the owner, and at most the passing group of a server's user, gets into a folder."""
    mode = folder.stat().st_mode & _OTHERS
    return mode in (0, 0o010)
