"""What a Delta table's description says of how it was made: the time zone of its dates, the version of its contract."""

from dataclasses import dataclass

from deltalake import DeltaTable

from orders_lakehouse.contracts.base import contract_version
from orders_lakehouse.contracts.tables import Table


@dataclass(frozen=True)
class Stamp:
    """How a table was made.

    Attributes:
        timezone: Time zone in which its dates are cut; empty where nothing is said.
        contract: Version of its contract; 1 where nothing is said.
    """

    timezone: str
    contract: int

    @classmethod
    def on(cls, handle: DeltaTable) -> "Stamp":
        """The stamp of a table as it stands."""
        said = dict(part.partition("=")[::2] for part in (handle.metadata().description or "").split())
        return cls(said.get("timezone", ""), int(said.get("contract", "1")))

    @classmethod
    def due(cls, table: Table, timezone: str) -> "Stamp":
        """The stamp that this program gives to a table."""
        return cls(timezone, int(contract_version(table.model)))

    def __str__(self) -> str:
        return f"timezone={self.timezone} contract={self.contract}"
