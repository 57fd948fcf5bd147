"""Tables that a source refuses to have looked at, while the others are followed."""

from dataclasses import dataclass
from datetime import datetime

# Under which name the mark of a table says since when, and why, the shop refuses to have it looked at.
REFUSED = "refused"


@dataclass(frozen=True)
class RefusedTable:
    """A table of the shop that a sensor cannot look at; it follows the others.

    Attributes:
        table: Name in the shop.
        since: When that was met first, by the shop's clock.
        error: Why it was refused the last time.
    """

    table: str
    since: datetime
    error: str

    @property
    def in_words(self) -> str:
        """Which table is not followed, since when, and why."""
        return f"{self.table} is not followed since {self.since:%Y-%m-%d %H:%M} UTC: {self.error}"
