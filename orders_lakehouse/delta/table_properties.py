"""What a Delta table's description says of how it was made: time zone, first partition, version of its contract.

What follows from it for whoever opens the table is decided in `opening.py`.
"""

from dataclasses import dataclass, replace
from datetime import date

from deltalake import DeltaTable

from orders_lakehouse.contracts.base import contract_version
from orders_lakehouse.contracts.table import Table


@dataclass(frozen=True)
class TableProperties:
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
    def of(cls, handle: DeltaTable) -> "TableProperties":
        """Return the properties of a table as it stands."""
        parts = dict(part.partition("=")[::2] for part in (handle.metadata().description or "").split())
        start = date.fromisoformat(parts["start"]) if "start" in parts else None
        return cls(parts.get("timezone", ""), int(parts.get("contract", "1")), start)

    @classmethod
    def expected(cls, table: Table, timezone: str, start: date | None) -> "TableProperties":
        """Return the properties that this program gives to a table."""
        return cls(timezone, int(contract_version(table.model)), start)

    def starting_as(self, other: "TableProperties") -> "TableProperties":
        """Return these properties with the first partition of others, where these name none."""
        return self if self.start else replace(self, start=other.start)

    def __str__(self) -> str:
        start = f" start={self.start}" if self.start else ""
        return f"timezone={self.timezone} contract={self.contract}{start}"
