"""The event log under the name in dagster.yaml of earlier homes; new homes name `runtime.event_log`."""

from orders_lakehouse.runtime.event_log import KeptSqliteEventLogStorage

__all__ = ["KeptSqliteEventLogStorage"]
