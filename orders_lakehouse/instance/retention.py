"""Decide what is kept of old runs, and remove files of LAKEHOUSE_HOME.

`instance.pruning` prunes Dagster's own storage; `delta.maintenance` maintains the tables of the lake.
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

# Number of dbt folders kept for their logs. dbt's pool has one slot, so the active build is among the newest.
KEPT_FAILURES = 10
# Age in seconds from which files without a run are removed. Younger ones may belong to a run that is about to be
# stored; no run takes longer than six hours.
_ABANDONED_SECONDS = 86_400
# Patterns, by folder, of temporary files with the writer's process id as suffix; the writer renames whole ones.
_COPIES = {"dbt": "partial_parse.*", "sensors": "*"}


@dataclass(frozen=True)
class NewestEvent:
    """The newest event of an asset, a partition and a type.

    Attributes:
        asset: Key of the asset.
        partition: Its partition, if any.
        type: Dagster's name of the type.
        id: Position of the event in the log.
    """

    asset: str
    partition: str | None
    type: str
    id: int


# Event types by which the UI shows an asset or a partition as materialized, observed, or failed.
MATERIALIZED, OBSERVED = "ASSET_MATERIALIZATION", "ASSET_OBSERVATION"
ATTEMPTED = ("ASSET_MATERIALIZATION_PLANNED", "ASSET_FAILED_TO_MATERIALIZE")


def needed_events(newest: Iterable[NewestEvent]) -> set[int]:
    """Return the ids of the events that the UI needs for each asset and partition.

    An attempt is needed while no materialization follows it, because it makes the partition show as failed. The newest
    attempt of an asset is always needed, because Dagster finds the asset's latest run by it.
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
    """Return the folder that holds a folder of logs and artifacts for each invocation of dbt."""
    return settings().home / "dbt"


def tidy_after_dbt(target: Path, *, failed: bool) -> None:
    """Remove the artifacts of a build if it succeeded, and those of old failed builds.

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
        known: Ids of all runs that Dagster knows; files of other runs are yielded once they are a day old.
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
    """Remove a file, or a folder with its content; a missing path is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def files_and_bytes(path: Path) -> tuple[int, int]:
    """Return the number of files at or below a path, and their size."""
    files = [file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    return len(files), sum(file.stat().st_size for file in files)


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
    """Yield the folders of dbt servers whose process was killed; other folders have no such socket."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        try:
            is_socket = stat.S_ISSOCK((folder / SOCKET).stat().st_mode)
            is_own = folder.stat().st_uid == os.geteuid()
        except OSError:
            continue
        if is_socket and is_own and is_abandoned(folder):
            yield folder
