"""Find the damaged file of a table and say what to do, because no library names it.

Files are searched only after a read has failed. `storage_errors.py` explains other failures of the storage, and
`mending.py` has the commands that repair a table.
"""

import json
import re
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from pyarrow import fs

from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.log_files import HINT, LOG, LogFiles, log_files
from orders_lakehouse.delta.object_store import LakeError, files_at, is_s3, path_of, table_at
from orders_lakehouse.encoding import decoded
from orders_lakehouse.tables import KEY_DATES, SOURCE_COLUMNS

# Beginning of the path of a file with rows of a capture date.
CAPTURED = re.compile(r"captured_on=(\d{4}-\d{2}-\d{2})/")


def require_whole(handle: DeltaTable) -> None:
    """Refuse a table on disk whose last commit is an empty file, as a power cut may leave it.

    deltalake reads an empty commit as one that changed nothing, so its rows would silently be missing.

    Raises:
        LakeError: The commit is empty.
    """
    if is_s3(handle.table_uri):
        return
    location = path_of(handle.table_uri)
    commit = Path(location, "_delta_log", f"{handle.version():020}.json")
    if commit.exists() and commit.stat().st_size == 0:
        raise LakeError(damaged_commit(location, commit.name, "is empty", last=True))


def find_log_damage(location: str) -> str | None:
    """Return what is wrong with a table's log: the newest unreadable commit, or what is missing; None if nothing is."""
    listed = log_files(location)
    unreadable = unreadable_commit(location, listed)
    if unreadable is not None:
        version, wrong = unreadable
        return damaged_commit(location, f"{version:020}.json", wrong, last=version == listed.last)
    if listed.broken:
        return damaged_commit(location, f"{listed.broken[0]:020}.json", "is missing", last=False)
    if listed.hinted is not None and listed.hinted not in listed.checkpoints:
        return (
            f"{table_at(location)} is damaged: its log names a checkpoint of version {listed.hinted} that is missing. "
            f"Put the file back from a backup, or remove {location}/{LOG}/{HINT}: the commits hold the same state."
        )
    return None


def unreadable_commit(location: str, listed: LogFiles) -> tuple[int, str] | None:
    """Return the newest commit that is not a list of JSON objects, and what is wrong with it; None if there is none."""
    files = files_at(location)
    for version in sorted(listed.commits, reverse=True):
        try:
            lines = files.open_input_stream(f"{LOG}/{version:020}.json").read().splitlines()
            if lines and all(isinstance(json.loads(line), dict) for line in lines):
                continue
            return version, "cannot be read" if lines else "is empty"
        except ValueError as error:
            return version, f"cannot be read ({error})"
    return None


def damaged_commit(location: str, name: str, wrong: str, *, last: bool) -> str:
    """Return an error message for a commit that cannot be read, with the next step."""
    before = f"{table_at(location)} is damaged: the file _delta_log/{name} of its log {wrong}"
    if last and int(name.removesuffix(".json")) > 0:
        return (
            f"{before}. It is the last commit. Put the file back from a backup, or remove "
            f"{location}/_delta_log/{name}: the table then has its state before that commit; run its dates again."
        )
    return f"{before}. {_remedy(location)}"


def find_data_damage(location: str) -> str | None:
    """Return what is wrong with the first data file that differs from the log or cannot be read; None if none does."""
    handle = DeltaTable(location, storage_options=object_store.options(location))
    for path, wrong in _differing_by_size(handle):
        return _damaged_file(location, path, wrong)
    files = files_at(location)
    for path in _named_files(handle)["path"]:
        _, unreadable = readable_rows(files, path)
        if unreadable is not None:
            return _damaged_file(location, path, unreadable)
    return None


def differing_files(handle: DeltaTable) -> list[tuple[str, str]]:
    """Return the files of a table that differ from its log: path, and what is wrong with it. No file is read.

    In a bucket, one listing of names is enough: an object is stored whole or not at all.
    """
    if is_s3(handle.table_uri):
        return [(path, "is missing") for path in handle.repair(dry_run=True)["files_removed"]]
    return _differing_by_size(handle)


def _differing_by_size(handle: DeltaTable) -> list[tuple[str, str]]:
    """Return files that are missing or have another size than the log says, by a request for each file."""
    expected = dict(_named_files(handle).iter_rows())
    differing = []
    for info in files_at(path_of(handle.table_uri)).get_file_info(list(expected)):
        if info.type == fs.FileType.NotFound:
            differing.append((info.path, "is missing"))
        elif info.size != expected[info.path]:
            differing.append((info.path, f"has {info.size:,} bytes, expected {expected[info.path]:,}"))
    return differing


def _named_files(handle: DeltaTable) -> pl.DataFrame:
    """Return the files that a table's log names: path, size_bytes."""
    actions = pl.DataFrame(handle.get_add_actions())
    return actions.select("path", "size_bytes") if actions.height else pl.DataFrame(schema=["path", "size_bytes"])


def readable_rows(files: fs.FileSystem, path: str) -> tuple[pl.DataFrame, str | None]:
    """Return the readable rows of a data file, and what is wrong with it; None if nothing is.

    Args:
        files: The files of a table.
        path: The file, as the log names it.

    Returns:
        All columns of the file, from every row group that can be read. Bytes of text that are not UTF-8 are marked as
        `orders_lakehouse.encoding` says.
    """
    readable: list[pl.DataFrame] = []
    wrong = None
    try:
        file = pq.ParquetFile(files.open_input_file(path))
    except (pa.ArrowException, OSError) as error:
        return pl.DataFrame(), _unreadable(error)
    for group in range(file.num_row_groups):
        try:
            rows = file.read_row_group(group)
        except (pa.ArrowException, OSError) as error:
            wrong = _unreadable(error)
            continue
        try:
            rows.validate(full=True)
        except pa.ArrowInvalid as error:
            wrong = wrong or f"holds text that is no UTF-8 ({error})"
        readable.append(decoded(pl.DataFrame(_in_bytes(rows))))
    return pl.concat(readable) if readable else pl.DataFrame(), wrong


def _unreadable(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "is missing"
    if "Error performing" in str(error):
        # The storage has failed again, which says nothing about the file.
        raise error
    return f"is no readable Parquet file ({error})"


def _in_bytes(rows: pa.Table) -> pa.Table:
    """Return the same rows with texts as bytes, because Arrow does not validate bytes."""
    text = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary()}
    columns = [
        pa.chunked_array([chunk.view(text[column.type]) for chunk in column.chunks], text[column.type])
        if column.type in text
        else column
        for column in rows.columns
    ]
    return pa.table(columns, names=rows.column_names)


def _damaged_file(location: str, path: str, wrong: str) -> str:
    return f"{table_at(location)} is damaged: its file {path} {wrong}. {_remedy(location, path)}"


def _remedy(location: str, path: str = "") -> str:
    layer, _, name = table_at(location).partition("/")
    if layer == "raw":
        captured = CAPTURED.match(path)
        if captured:
            last = (
                f"If there is none, run `lakehouse recapture {name} {captured[1]}`: it captures this date again from "
                "the shop, keeps the rows that can still be read, and reports what is lost."
            )
        elif name == KEY_DATES.name:
            last = f"If there is none, move {location} away and run `lakehouse rebuild-key-dates`."
        elif name == SOURCE_COLUMNS.name:
            last = (
                f"If there is none, move {location} away: each capture then records the present columns of its table."
            )
        else:
            last = (
                f"Only if there is none, move {location} away and backfill all dates; versions that the shop has "
                "overwritten are then lost."
            )
        return (
            "Only raw has versions that the shop has overwritten: put the file back from a backup, or from the "
            f"versions of the bucket. {last}"
        )
    start_over = (
        f"start {layer}.{name} over (`lakehouse reset {name}`)"
        if layer in ("cleansed", "quarantine", "curated")
        else f"remove the whole folder {location}"
    )
    return (
        "Put the file back from a backup, or from the versions of the bucket. The table is derived, so you can also "
        f"{start_over} and backfill all dates."
    )
