"""The name by which dagster.yaml of earlier homes finds the event log; new homes name `runtime.event_log`."""

from orders_lakehouse.runtime.event_log import KeptSqliteEventLogStorage

__all__ = ["KeptSqliteEventLogStorage"]
