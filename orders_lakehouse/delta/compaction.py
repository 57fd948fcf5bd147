"""How the files of a table become few. No row changes.

Which dates need it is decided by `maintenance.py`, and by `writer.py` for a table that is appended to.
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
from orders_lakehouse.delta.storage_errors import storage_trouble

log = logging.getLogger(__name__)

# Name under which a commit says that it wrote rows anew and changed none.
COMPACTED = "compacted"
# Rows in memory at once while a table without partitions becomes one file, and rows of a group in that file: a search
# for keys reads the groups that may have them.
GROUP_ROWS = 100_000
# deltalake writes uncompressed where properties are given that do not name a compression.
IN_GROUPS = WriterProperties(compression="SNAPPY", max_row_group_size=GROUP_ROWS)


def compact(handle: DeltaTable, table: Table, groups: Sequence[Sequence[date]] = ()) -> bool:
    """Write rows anew into as few files as they need, in one commit, which says that it changes no row.

    `optimize.compact` would not do: two that run at once both succeed there, and every row stands twice. Here one of
    two fails. A writer fails too that read the files before and writes the same dates after; it reads again.

    Args:
        handle: The table, to write.
        table: The table.
        groups: Dates to rewrite, as many at once as fit into memory; none for a table that has no dates.

    Returns:
        Whether it was done. When another writer was faster, the files stay as they are.
    """
    partition, stored = table.partitioned_by, object_store.scan(handle)
    schema = pl.DataFrame(schema=stored.collect_schema()).to_arrow().schema

    def frames() -> Iterator[pl.DataFrame]:
        if partition is None:
            yield from stored.collect_batches(chunk_size=GROUP_ROWS, engine="streaming")
        for dates in groups:
            # Sorted, rows that belong together lie together, and the statistics find a key. In one batch, because the
            # writer keeps no order of several.
            rows = stored.filter(pl.col(str(partition)).is_in(list(dates)))
            yield rows.sort(str(partition), *table.key, maintain_order=True).collect().rechunk()

    batches = (batch for frame in frames() for batch in frame.to_arrow().cast(schema).to_batches())
    predicate = "true" if partition is None else within(partition, spans(day for dates in groups for day in dates))
    claims = commits.claiming(handle, "compacted", ["all"], {COMPACTED: "true"})
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
    """Return a number that each compaction of a table changes; None before the first."""
    with storage_trouble(handle.table_uri):
        return handle.transaction_version("compacted/all")
