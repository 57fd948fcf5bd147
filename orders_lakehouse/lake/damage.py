"""Which file of a table is damaged, and what to do: no library says. Looked for once reading has failed, not before."""

import json
import re
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from pyarrow import fs

from orders_lakehouse.lake import storage
from orders_lakehouse.lake.storage import LakeError, files_at, is_s3, path_of, table_at


def require_whole(handle: DeltaTable) -> None:
    """Refuse a table on disk whose last commit is an empty file, as a power cut may leave it.

    Such a commit reads as one that added nothing and removed nothing: its rows would be missing without a word.

    Raises:
        LakeError: It is empty.
    """
    if is_s3(handle.table_uri):
        return
    location = path_of(handle.table_uri)
    commit = Path(location, "_delta_log", f"{handle.version():020}.json")
    if commit.exists() and commit.stat().st_size == 0:
        raise LakeError(damaged_commit(location, commit.name, "is empty", last=True))


def look_at_log(location: str) -> str | None:
    """What is wrong with the newest commit that is no list of JSON objects."""
    files = files_at(location)
    there = files.get_file_info(fs.FileSelector("_delta_log"))
    commits = sorted(Path(file.path).name for file in there if re.search(r"/\d{20}\.json$", f"/{file.path}"))
    for name in reversed(commits):
        try:
            lines = files.open_input_stream(f"_delta_log/{name}").read().splitlines()
            if lines and all(isinstance(json.loads(line), dict) for line in lines):
                continue
            wrong = "cannot be read" if lines else "is empty"
        except ValueError as error:
            wrong = f"cannot be read ({error})"
        return damaged_commit(location, name, wrong, last=name == commits[-1])
    return None


def damaged_commit(location: str, name: str, wrong: str, *, last: bool) -> str:
    """What to say of a commit that cannot be read, and what to do about it."""
    before = f"{table_at(location)} is damaged: the file _delta_log/{name} of its log {wrong}"
    if last and int(name.removesuffix(".json")) > 0:
        return (
            f"{before}. It is the last commit. Put the file back from a backup, or remove "
            f"{location}/_delta_log/{name}: the table is then as it was before that commit; run its dates again."
        )
    return f"{before}. {_remedy(location)}"


def look_at_data(location: str) -> str | None:
    """What is wrong with the first data file that is not as the log says, or that cannot be read."""
    files = files_at(location)
    actions = pl.DataFrame(DeltaTable(location, storage_options=storage.options(location)).get_add_actions())
    expected = dict(actions.select("path", "size_bytes").iter_rows()) if actions.height else {}
    found = {info.path: info for info in files.get_file_info(list(expected))}
    for path, size in expected.items():
        info = found.get(path)
        if info is None or info.type == fs.FileType.NotFound:
            return _damaged_file(location, path, "is missing")
        if info.size != size:
            return _damaged_file(location, path, f"has {info.size:,} bytes, expected {size:,}")
    for path in expected:
        try:
            pq.ParquetFile(files.open_input_file(path)).read()
        except (pa.ArrowException, OSError) as error:
            if "Error performing" in str(error):
                # The storage has failed once more, which says nothing of the file.
                raise
            return _damaged_file(location, path, f"is no readable Parquet file ({error})")
    return None


def _damaged_file(location: str, path: str, wrong: str) -> str:
    return f"{table_at(location)} is damaged: its file {path} {wrong}. {_remedy(location)}"


def _remedy(location: str) -> str:
    if "/raw/" in f"/{table_at(location)}":
        return (
            "Raw is the only memory of what the shop no longer says: put the file back from a backup, or from the "
            f"versions of the bucket. Only if there is none, move {location} away and backfill all dates; versions "
            "that the shop has overwritten are lost then."
        )
    return (
        "Put the file back from a backup, or from the versions of the bucket; or remove the whole folder "
        f"{location}, which is derived, and backfill all dates."
    )
