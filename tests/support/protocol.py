"""The protocol of a Delta table, which every reader has to speak."""

from orders_lakehouse.contracts.table import Table
from orders_lakehouse.delta.tables import Lake

ADVANCED = ("delta.enableDeletionVectors", "delta.columnMapping.mode", "delta.enableChangeDataFeed")


def assert_plain(lake: Lake, table: Table) -> None:
    handle = lake.find(table)
    protocol = handle.protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version) == (1, 2)
    assert (protocol.reader_features, protocol.writer_features) == (None, None)
    assert not set(ADVANCED) & set(handle.metadata().configuration)
