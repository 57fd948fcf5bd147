"""Commits to Delta tables: their claims and metadata, how rows are handed over, and retries after a conflict.

`writer.py`, `compaction.py` and `engines/` decide which rows a commit writes.
"""

import json
import logging
import random
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError

from orders_lakehouse.dates import days, spans
from orders_lakehouse.delta.object_store import StorageUnavailableError
from orders_lakehouse.delta.storage_errors import explain_storage_errors

log = logging.getLogger(__name__)

# Retries of a commit on a newer log, for writers of disjoint dates. The default of 15 fails under some thirty writers.
_COMMIT_RETRIES = 100
# A commit that claims nothing.
UNCLAIMED = CommitProperties(max_commit_retries=_COMMIT_RETRIES)
# Attempts to read, derive and commit before giving up.
_ATTEMPTS = 20
# Number of dates in a commit above which a checkpoint is written at once, so that the table opens faster.
_LARGE_COMMIT = 200
# Number of rows above which rows reach the writer in pieces, and rows of a piece: the writer copies each piece.
_IN_PIECES, _PIECE_ROWS = 400_000, 65_536

Result = TypeVar("Result")


def claiming_commit(
    handle: DeltaTable, what: str, parts: Iterable[str], metadata: Mapping[str, str]
) -> CommitProperties:
    """Return properties of a commit with claims.

    The commit fails if another one has claimed one of the same parts since `handle` was opened. Delta itself detects
    conflicts by files, and a date that was empty and stays empty has none.

    Args:
        handle: The table, open.
        what: What is done to the parts.
        parts: Dates, or "all".
        metadata: Metadata of the commit.
    """
    version = handle.version() + 1
    claims = [Transaction(app_id=f"{what}/{part}", version=version) for part in parts]
    return CommitProperties(max_commit_retries=_COMMIT_RETRIES, app_transactions=claims, custom_metadata=dict(metadata))


def replacing_commit(
    handle: DeltaTable, dates: tuple[date, date] | None, changed: pl.Series, metadata: Mapping[str, str]
) -> CommitProperties:
    """Return properties of a commit that replaces dates; it fails if another commit has replaced one meanwhile.

    Args:
        handle: The table, open.
        dates: First and last date; None for the whole table.
        changed: The dates among them whose rows change.
        metadata: Further metadata of the commit.
    """
    changed_spans = json.dumps([[str(first), str(last)] for first, last in spans(changed.drop_nulls())])
    metadata = {**metadata, "dates": json.dumps(dates, default=str), "changed": changed_spans}
    return claiming_commit(handle, "replaced", ["all"] if dates is None else map(str, days(*dates)), metadata)


def write(handle: DeltaTable, rows: pl.DataFrame | pa.RecordBatchReader, **options: Any) -> None:
    """Write rows in one commit, and hand many rows over piece by piece.

    Args:
        handle: The table, opened for this writer alone.
        rows: Rows with the table's columns.
        options: Options of `write_deltalake`.

    Raises:
        CommitFailedError: Another writer was faster.
        LakeError: The storage cannot be used.
        StorageUnavailableError: The storage does not answer.
    """
    if isinstance(rows, pl.DataFrame) and rows.height > _IN_PIECES:
        rows = _in_pieces(rows)
    with explain_storage_errors(handle.table_uri):
        write_deltalake(handle, rows, **options)


def _in_pieces(rows: pl.DataFrame) -> pa.RecordBatchReader:
    """Return the same rows as a reader, so that the writer holds only a few at a time; no text is copied."""
    newest = pl.CompatLevel.newest()
    schema = rows.head(0).to_arrow(compat_level=newest).schema
    pieces = (piece.to_arrow(compat_level=newest) for piece in rows.iter_slices(_PIECE_ROWS))
    return pa.RecordBatchReader.from_batches(schema, (batch for piece in pieces for batch in piece.to_batches()))


def checkpoint_if_large(handle: DeltaTable, dates: int) -> None:
    """Write a checkpoint after a commit of many dates."""
    if dates > _LARGE_COMMIT:
        with explain_storage_errors(handle.table_uri):
            handle.create_checkpoint()


def retry_on_conflict(work: Callable[[], Result]) -> Result:
    """Do the work; after each commit conflict, do all of it again, including its reading.

    Raises:
        StorageUnavailableError: Every attempt met a conflict.
    """
    for attempt in range(1, _ATTEMPTS):
        try:
            return work()
        except CommitFailedError as error:
            log.info("another writer was faster, deriving again (attempt %s): %s", attempt, error)
            time.sleep(random.uniform(0.05, 0.1) * min(attempt, 10))  # noqa: S311 (jitter, not a secret)
    try:
        return work()
    except CommitFailedError as error:
        raise StorageUnavailableError(
            f"other writers were faster {_ATTEMPTS} times in a row: {error}. Stop the program that keeps writing these "
            "dates, then run again."
        ) from error
