"""How a commit is made: what it claims, what it says of itself, how rows reach it, and that it is tried again.

Which rows a commit writes is decided elsewhere: `writer.py`, `compaction.py`, `engines/`.
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
from orders_lakehouse.delta.storage_errors import storage_trouble

log = logging.getLogger(__name__)

# Writers of disjoint dates retry their commit on a newer log; the default of 15 loses under some thirty writers.
_COMMIT_RETRIES = 100
# A commit that claims nothing.
UNCLAIMED = CommitProperties(max_commit_retries=_COMMIT_RETRIES)
_ATTEMPTS = 20
# A commit of more dates puts the table's state into a checkpoint at once, from which the table opens faster.
_LARGE_COMMIT = 200
# More rows than the former reach the writer in pieces of the latter: it copies what it gets at once.
_IN_PIECES, _PIECE_ROWS = 400_000, 65_536

Result = TypeVar("Result")


def claiming(handle: DeltaTable, what: str, parts: Iterable[str], metadata: Mapping[str, str]) -> CommitProperties:
    """Return a commit that collides with each one since `handle` was opened that claims one of the same parts.

    Delta compares files, and a date that somebody found empty and left empty has none; the claim leaves a trace.

    Args:
        handle: The table, open.
        what: What is done to the parts.
        parts: Dates, or "all".
        metadata: What the commit says of itself.
    """
    version = handle.version() + 1
    claims = [Transaction(app_id=f"{what}/{part}", version=version) for part in parts]
    return CommitProperties(max_commit_retries=_COMMIT_RETRIES, app_transactions=claims, custom_metadata=dict(metadata))


def replacing(
    handle: DeltaTable, dates: tuple[date, date] | None, changed: pl.Series, metadata: Mapping[str, str]
) -> CommitProperties:
    """Return a commit that replaces dates of a table and collides with others of these dates.

    Args:
        handle: The table, open.
        dates: First and last date; None for the whole table.
        changed: Those of the dates whose rows are others now.
        metadata: What else the commit says of itself.
    """
    changed_spans = json.dumps([[str(first), str(last)] for first, last in spans(changed.drop_nulls())])
    metadata = {**metadata, "dates": json.dumps(dates, default=str), "changed": changed_spans}
    return claiming(handle, "replaced", ["all"] if dates is None else map(str, days(*dates)), metadata)


def write(handle: DeltaTable, rows: pl.DataFrame | pa.RecordBatchReader, **options: Any) -> None:
    """Write rows in one commit; many rows piece by piece.

    Args:
        handle: The table, to write.
        rows: Rows as the table has them.
        options: Those of `write_deltalake`.

    Raises:
        CommitFailedError: Another writer was faster.
        LakeError: The storage cannot be used.
        StorageUnavailableError: The storage does not answer.
    """
    if isinstance(rows, pl.DataFrame) and rows.height > _IN_PIECES:
        rows = _in_pieces(rows)
    with storage_trouble(handle.table_uri):
        write_deltalake(handle, rows, **options)


def _in_pieces(rows: pl.DataFrame) -> pa.RecordBatchReader:
    """Return the same rows, a few of which the writer holds at a time; texts are not copied on the way."""
    newest = pl.CompatLevel.newest()
    schema = rows.head(0).to_arrow(compat_level=newest).schema
    pieces = (piece.to_arrow(compat_level=newest) for piece in rows.iter_slices(_PIECE_ROWS))
    return pa.RecordBatchReader.from_batches(schema, (batch for piece in pieces for batch in piece.to_batches()))


def checkpoint_if_large(handle: DeltaTable, dates: int) -> None:
    """Write a checkpoint after a commit of many dates."""
    if dates > _LARGE_COMMIT:
        with storage_trouble(handle.table_uri):
            handle.create_checkpoint()


def again_on_conflict(work: Callable[[], Result]) -> Result:
    """Do some work again, from its reading on, as long as other writers are faster.

    Raises:
        StorageUnavailableError: They always were.
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
            f"other writers were faster {_ATTEMPTS} times in a row: {error}. Is something writing these dates for ever?"
        ) from error
