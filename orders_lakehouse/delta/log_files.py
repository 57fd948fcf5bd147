"""The log of a Delta table as files: which commits and checkpoints there are.

No table is opened. What the commits say is `log.py`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deltalake.exceptions import TableNotFoundError
from pyarrow import fs

from orders_lakehouse.delta.object_store import files_at

LOG = "_delta_log"
COMMIT = re.compile(r"(\d{20})\.json")
CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\..*parquet")
HINT = "_last_checkpoint"


@dataclass(frozen=True)
class LogFiles:
    """What the log of a table consists of.

    Attributes:
        commits: Size of each commit, by version.
        written: When each commit was put there, by version.
        checkpoints: Versions that have a checkpoint.
        hinted: The checkpoint that readers are told to begin with; None where nothing is said.
    """

    commits: Mapping[int, int]
    written: Mapping[int, datetime]
    checkpoints: frozenset[int]
    hinted: int | None

    @property
    def begins_at(self) -> int:
        """The version that a reader begins with: that of the last checkpoint, or the first one of all."""
        return max(self.checkpoints, default=0)

    @property
    def last(self) -> int:
        """The last version."""
        return max([*self.commits, *self.checkpoints], default=-1)

    @property
    def broken(self) -> list[int]:
        """Versions that a reader of the latest one needs and that are missing or empty, in order."""
        begin = self.begins_at + 1 if self.checkpoints else 0
        return [version for version in range(begin, self.last + 1) if not self.commits.get(version)]

    @property
    def broken_before(self) -> list[int]:
        """Versions that only a reader of older ones needs and that are missing or empty, in order."""
        needed = range(min(self.commits, default=0), self.begins_at if self.checkpoints else 0)
        return [version for version in needed if not self.commits.get(version)]

    @property
    def whole_up_to(self) -> int:
        """The last version that can be opened once the files of later ones are gone; -1 where there is none."""
        return min(self.broken, default=self.last + 1) - 1


def log_files(location: str) -> LogFiles:
    """The files of a table's log, by one listing; none where there is no table."""
    try:
        files = files_at(location)
    except TableNotFoundError:
        return LogFiles({}, {}, frozenset(), None)
    there = files.get_file_info(fs.FileSelector(LOG, allow_not_found=True))
    names = {Path(file.path).name: file for file in there if file.type == fs.FileType.File}
    commits = {int(match[1]): file for name, file in names.items() if (match := COMMIT.fullmatch(name))}
    hinted = None
    if HINT in names:
        try:
            hinted = int(json.loads(files.open_input_stream(f"{LOG}/{HINT}").read())["version"])
        except (ValueError, KeyError):
            # Readers do without what they cannot read.
            hinted = None
    return LogFiles(
        commits={version: file.size for version, file in commits.items()},
        written={version: file.mtime for version, file in commits.items()},
        checkpoints=frozenset(int(match[1]) for name in names if (match := CHECKPOINT.fullmatch(name))),
        hinted=hinted,
    )


def committed_at(location: str, version: int) -> datetime | None:
    """When a version was committed, by its own word; None where it does not say."""
    lines = files_at(location).open_input_stream(f"{LOG}/{version:020}.json").read().splitlines()
    for line in lines:
        said = json.loads(line).get("commitInfo", {}).get("timestamp")
        if said is not None:
            return datetime.fromtimestamp(said / 1000, UTC)
    return None
