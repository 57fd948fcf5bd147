"""The log of a Delta table as files: its commits and checkpoints.

No function here opens a table. `log.py` reads what the commits say.
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
    """The files of a table's log.

    Attributes:
        commits: Size of each commit in bytes, by version.
        written: Modification time of each commit, by version.
        checkpoints: Versions that have a checkpoint.
        hinted: Version of the checkpoint that `_last_checkpoint` names; None where the file is missing or unreadable.
    """

    commits: Mapping[int, int]
    written: Mapping[int, datetime]
    checkpoints: frozenset[int]
    hinted: int | None

    @property
    def begins_at(self) -> int:
        """Return the version that a reader begins with: the last checkpoint, or 0 without any."""
        return max(self.checkpoints, default=0)

    @property
    def last(self) -> int:
        """Return the last version."""
        return max([*self.commits, *self.checkpoints], default=-1)

    @property
    def broken(self) -> list[int]:
        """Return missing or empty versions that a reader of the latest version needs, in order."""
        begin = self.begins_at + 1 if self.checkpoints else 0
        return [version for version in range(begin, self.last + 1) if not self.commits.get(version)]

    @property
    def broken_before(self) -> list[int]:
        """Return missing or empty versions that only a reader of older versions needs, in order."""
        needed = range(min(self.commits, default=0), self.begins_at if self.checkpoints else 0)
        return [version for version in needed if not self.commits.get(version)]

    @property
    def whole_up_to(self) -> int:
        """Return the last version that can be opened after later commits are removed; -1 where there is none."""
        return min(self.broken, default=self.last + 1) - 1


def log_files(location: str) -> LogFiles:
    """List the files of a table's log in one request; return an empty log where there is no table."""
    try:
        files = files_at(location)
    except TableNotFoundError:
        return LogFiles({}, {}, frozenset(), None)
    listed = files.get_file_info(fs.FileSelector(LOG, allow_not_found=True))
    names = {Path(file.path).name: file for file in listed if file.type == fs.FileType.File}
    commits = {int(match[1]): file for name, file in names.items() if (match := COMMIT.fullmatch(name))}
    hinted = None
    if HINT in names:
        try:
            hinted = int(json.loads(files.open_input_stream(f"{LOG}/{HINT}").read())["version"])
        except (ValueError, KeyError):
            # Readers ignore a hint that they cannot read.
            hinted = None
    return LogFiles(
        commits={version: file.size for version, file in commits.items()},
        written={version: file.mtime for version, file in commits.items()},
        checkpoints=frozenset(int(match[1]) for name in names if (match := CHECKPOINT.fullmatch(name))),
        hinted=hinted,
    )


def committed_at(location: str, version: int) -> datetime | None:
    """Return the instant that a commit states for itself; None where it states none."""
    lines = files_at(location).open_input_stream(f"{LOG}/{version:020}.json").read().splitlines()
    for line in lines:
        milliseconds = json.loads(line).get("commitInfo", {}).get("timestamp")
        if milliseconds is not None:
            return datetime.fromtimestamp(milliseconds / 1000, UTC)
    return None
