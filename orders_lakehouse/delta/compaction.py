"""Compaction: rewrite many small files of a table as few large ones. No row changes.

`maintenance.py` decides which dates need it; for a table that grows by appends, `writer.py` does.
"""

import logging
from collections.abc import Iterator, Sequence
from datetime import date

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable, WriterProperties
from deltalake.exceptions import CommitFailedError

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.dates import spans
from orders_lakehouse.delta import commits, object_store
from orders_lakehouse.delta.date_predicates import within
from orders_lakehouse.delta.storage_errors import explain_storage_errors

log = logging.getLogger(__name__)

# Metadata key of a commit that rewrote files and changed no row.
COMPACTED = "compacted"
# Rows in memory at once while a table without partitions becomes one file. It is also the size of a row group in that
# file: a search for keys reads only the groups that may have them.
GROUP_ROWS = 100_000
# deltalake writes uncompressed if writer properties name no compression.
IN_GROUPS = WriterProperties(compression="SNAPPY", max_row_group_size=GROUP_ROWS)


def compact(handle: DeltaTable, table: Table, groups: Sequence[Sequence[date]] = ()) -> bool:
    """Rewrite rows into as few files as they need, in one commit whose metadata says that no row changes.

    `optimize.compact` is unsafe here: two that run at once both succeed, and every row is stored twice. With this
    commit, one of two fails. A writer that read the old files of the same dates fails too, and reads again.

    Args:
        handle: The table, opened for this writer alone.
        table: The table.
        groups: Dates to rewrite, in groups that fit into memory; none for a table without dates.

    Returns:
        Whether the files were rewritten. If another writer was faster, they stay as they are.
    """
    partition, stored = table.partitioned_by, object_store.scan(handle)
    schema = pl.DataFrame(schema=stored.collect_schema()).to_arrow().schema

    def frames() -> Iterator[pl.DataFrame]:
        if partition is None:
            yield from stored.collect_batches(chunk_size=GROUP_ROWS, engine="streaming")
        for dates in groups:
            # Sorting puts related rows together, so that file statistics find a key. The rows form one batch, because
            # the writer does not keep the order of several batches.
            rows = stored.filter(pl.col(str(partition)).is_in(list(dates)))
            yield rows.sort(str(partition), *table.key, maintain_order=True).collect().rechunk()

    batches = (batch for frame in frames() for batch in frame.to_arrow().cast(schema).to_batches())
    predicate = "true" if partition is None else within(partition, spans(day for dates in groups for day in dates))
    claims = commits.claiming_commit(handle, "compacted", ["all"], {COMPACTED: "true"})
    try:
        commits.write(
            handle,
            pa.RecordBatchReader.from_batches(schema, batches),
            mode="overwrite",
            predicate=predicate,
            writer_properties=IN_GROUPS if partition is None else None,
            commit_properties=claims,
        )
    except CommitFailedError as error:
        log.info("another writer was faster, the files of %s stay as they are for now: %s", handle.table_uri, error)
        return False
    return True


def last_compaction(handle: DeltaTable) -> int | None:
    """Return a number that changes with each compaction of a table; None before the first."""
    with explain_storage_errors(handle.table_uri):
        return handle.transaction_version("compacted/all")
