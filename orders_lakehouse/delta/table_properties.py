"""What a Delta table's description says of how it was made: time zone, first partition, version of its contract."""

from dataclasses import dataclass
from datetime import date

from deltalake import DeltaTable

from orders_lakehouse.contracts.base import contract_version
from orders_lakehouse.contracts.table import Table


@dataclass(frozen=True)
class Stamp:
    """How a table was made.

    Attributes:
        timezone: Time zone in which its dates are cut; empty where nothing is said.
        contract: Version of its contract; 1 where nothing is said.
        start: First partition of its lake; None where nothing is said, as by programs of before.
    """

    timezone: str
    contract: int
    start: date | None

    @classmethod
    def on(cls, handle: DeltaTable) -> "Stamp":
        """The stamp of a table as it stands."""
        said = dict(part.partition("=")[::2] for part in (handle.metadata().description or "").split())
        start = date.fromisoformat(said["start"]) if "start" in said else None
        return cls(said.get("timezone", ""), int(said.get("contract", "1")), start)

    @classmethod
    def due(cls, table: Table, timezone: str, start: date | None) -> "Stamp":
        """The stamp that this program gives to a table."""
        return cls(timezone, int(contract_version(table.model)), start)

    def __str__(self) -> str:
        start = f" start={self.start}" if self.start else ""
        return f"timezone={self.timezone} contract={self.contract}{start}"
