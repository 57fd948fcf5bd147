"""What is left of runs and how long: decisions, and the files of LAKEHOUSE_HOME.

Dagster's own storage is pruned by `instance.pruning`; the tables of the lake are maintained by `delta.maintenance`.
"""

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orders_lakehouse.runtime.dbt_server import FOLDER_PREFIX, SOCKET
from orders_lakehouse.settings import settings

# dbt's folders that stay for their logs. The pool of dbt has one slot, so the build at work is among the newest.
KEPT_FAILURES = 10
# Files without a run are left alone for a day: their run may be about to be stored. No run takes longer than six hours.
_ABANDONED_SECONDS = 86_400
# Files that a writer renames once they are whole end with its process id.
_COPIES = {"dbt": "partial_parse.*", "sensors": "*"}


@dataclass(frozen=True)
class NewestEvent:
    """The newest event of an asset, a partition and a type.

    Attributes:
        asset: Key of the asset.
        partition: Its partition, if any.
        type: Dagster's name of the type.
        id: Place of the event in the log.
    """

    asset: str
    partition: str | None
    type: str
    id: int


# Events by which the UI shows an asset or a partition as materialized, observed, or failed.
MATERIALIZED, OBSERVED = "ASSET_MATERIALIZATION", "ASSET_OBSERVATION"
ATTEMPTED = ("ASSET_MATERIALIZATION_PLANNED", "ASSET_FAILED_TO_MATERIALIZE")


def needed_events(newest: Iterable[NewestEvent]) -> set[int]:
    """Return the ids of the events that the UI needs of each asset and partition.

    An attempt counts while no materialization follows it: it then is why the partition shows as failed. The newest
    attempt of an asset always counts: Dagster finds the asset's latest run by it.
    """
    newest = sorted(newest, key=lambda event: event.id)
    materialized = {(event.asset, event.partition): event.id for event in newest if event.type == MATERIALIZED}
    last_attempts = {(event.asset, event.type): event.id for event in newest if event.type in ATTEMPTED}
    return set(last_attempts.values()) | {
        event.id
        for event in newest
        if event.type not in ATTEMPTED or event.id > materialized.get((event.asset, event.partition), -1)
    }


def dbt_folder() -> Path:
    """Return the folder in which each invocation of dbt has a folder for its logs and artifacts."""
    return settings().home / "dbt"


def tidy_after_dbt(target: Path, *, failed: bool) -> None:
    """Remove the artifacts of a build that succeeded, or those of builds before the last that failed.

    Args:
        target: Folder of the build.
        failed: Whether it failed.
    """
    if settings().dbt_artifacts == "all":
        return
    if not failed:
        shutil.rmtree(target, ignore_errors=True)
    for folder in _superseded(dbt_folder()):
        shutil.rmtree(folder, ignore_errors=True)


def leftover_files(kept: Collection[str], known: Collection[str]) -> Iterator[Path]:
    """Yield files and folders of LAKEHOUSE_HOME and of killed processes that no run needs.

    Args:
        kept: Ids of the runs that keep everything.
        known: Ids of all runs that Dagster knows; what belongs to another run counts once it is a day old.
    """
    home = settings().home
    if settings().dbt_artifacts == "failed":
        yield from _superseded(dbt_folder())
    else:
        # dagster-dbt names a folder <step>-<first seven characters of the run's id>-<random>.
        names = {run_id[:7] for run_id in kept}
        for folder in _folders(dbt_folder()):
            if names.isdisjoint(folder.name.split("-")) and is_abandoned(folder):
                yield folder
    for log in (home / "logs").glob("*.log"):
        if log.stem not in kept and (log.stem in known or is_abandoned(log)):
            yield log
    for folder_name, pattern in _COPIES.items():
        for copy in (home / folder_name).glob(pattern):
            if copy.suffix[1:].isdigit() and is_abandoned(copy):
                yield copy
    yield from _abandoned_dbt_servers()


def is_abandoned(path: Path) -> bool:
    """Return whether a file has not been written for a day."""
    try:
        return time.time() - path.stat().st_mtime > _ABANDONED_SECONDS
    except FileNotFoundError:
        return False


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; one that is gone is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def files_and_bytes(path: Path) -> tuple[int, int]:
    """Return how many files there are at or below a path, and their size."""
    files = [found for found in (path.rglob("*") if path.is_dir() else [path]) if found.is_file()]
    return len(files), sum(found.stat().st_size for found in files)


def _superseded(folder: Path) -> list[Path]:
    def changed(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except FileNotFoundError:  # another process has just removed it
            return 0

    return sorted(_folders(folder), key=changed, reverse=True)[KEPT_FAILURES:]


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.exists() else []


def _abandoned_dbt_servers() -> Iterator[Path]:
    """Yield the folders of dbt servers whose process was killed; those of others have no such socket in them."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        try:
            is_socket = stat.S_ISSOCK((folder / SOCKET).stat().st_mode)
            is_own = folder.stat().st_uid == os.geteuid()
        except OSError:
            continue
        if is_socket and is_own and is_abandoned(folder):
            yield folder
