"""Properties with which a Delta table was made, in its description: time zone, first partition, contract version.

`opening.py` compares them with what this program expects.
"""

from dataclasses import dataclass, replace
from datetime import date

from deltalake import DeltaTable

from orders_lakehouse.contracts.base import contract_version
from orders_lakehouse.contracts.table import Table


@dataclass(frozen=True)
class TableProperties:
    """The properties with which a table was made.

    Attributes:
        timezone: Time zone of its dates; empty where the description names none.
        contract: Version of its contract; 1 where the description names none.
        start: First partition of its lake; None where the description names none, as older programs wrote it.
    """

    timezone: str
    contract: int
    start: date | None

    @classmethod
    def of(cls, handle: DeltaTable) -> "TableProperties":
        """Return the stored properties of a table."""
        parts = dict(part.partition("=")[::2] for part in (handle.metadata().description or "").split())
        start = date.fromisoformat(parts["start"]) if "start" in parts else None
        return cls(parts.get("timezone", ""), int(parts.get("contract", "1")), start)

    @classmethod
    def expected(cls, table: Table, timezone: str, start: date | None) -> "TableProperties":
        """Return the properties that this program gives a table."""
        return cls(timezone, int(contract_version(table.model)), start)

    def starting_as(self, other: "TableProperties") -> "TableProperties":
        """Return these properties; if they name no first partition, take that of the others."""
        return self if self.start else replace(self, start=other.start)

    def __str__(self) -> str:
        start = f" start={self.start}" if self.start else ""
        return f"timezone={self.timezone} contract={self.contract}{start}"
