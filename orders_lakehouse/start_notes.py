"""Notes of where lakes begin, in a file of LAKEHOUSE_HOME. A lake itself records its first partition in its tables.

Partitions are declared when Dagster imports the definitions, and an import must not wait for a network. So the first
command that opens a lake notes its first partition here.
"""

import json
import os
from datetime import date
from pathlib import Path

from orders_lakehouse.errors import ExpectedError

FILE = "start_dates.json"


def noted_start(home: Path, lake_url: str) -> date | None:
    """Return the first partition noted for a lake; None where there is no note.

    Raises:
        ExpectedError: The file of notes cannot be read.
    """
    start = _read(home).get(lake_url)
    return None if start is None else date.fromisoformat(start)


def note_start(home: Path, lake_url: str, start: date) -> None:
    """Note the first partition of a lake in an existing home; notes of other lakes stay."""
    notes = _read(home) | {lake_url: str(start)}
    # A reader sees the old file or the new one.
    written = home / f"{FILE}.{os.getpid()}"
    written.write_text(json.dumps(notes, indent=2))
    written.replace(home / FILE)


def _read(home: Path) -> dict[str, str]:
    path = home / FILE
    try:
        notes: dict[str, str] = {
            url: str(date.fromisoformat(start)) for url, start in json.loads(path.read_text()).items()
        }
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise ExpectedError(
            f"{path} cannot be read ({error}); expected JSON that names the first partition of each lake. Remove the "
            "file: the next command reads the date from the lake."
        ) from error
    return notes
