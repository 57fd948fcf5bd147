"""Declaration of an entity: everything that varies from one source table to another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.base import Contract
from orders_lakehouse.contracts.table import MADE_HERE, Copied, Mix, Origin, Table
from orders_lakehouse.contracts.types import Frame

# Columns that quarantine adds to the original ones: the reasons, the contract's version, and the number of versions.
_VERDICT = (("reasons", pl.String), ("contract_version", pl.String), ("versions", pl.Int64))
_JUDGED = dict.fromkeys(("versions", "candidates", "warnings"), MADE_HERE)


@dataclass(frozen=True)
class ByCapture:
    """Every version counts at the date on which it was captured, and stays. Members of dimensions have this dating.

    Attributes:
        attributes: Columns that the dimension shows of a member. Successive versions with equal attributes are one
            member, so clocks and lineage are no attributes.
    """

    attributes: tuple[str, ...]


@dataclass(frozen=True)
class ByOwnDate:
    """The current version counts at a business date of its own, and its children count at the same date.

    Attributes:
        clock: Instant of the source that the date is computed from.
        dated: Adds `order_date` (the partition), and the columns that it is computed from.
        states: Returns the state of each row, from cleansed rows and those in quarantine: the key, order_date,
            order_state, and the columns that children inherit.
        inherited: Columns that children inherit, each with the column of the parent that it comes from.
    """

    clock: str
    dated: Callable[[Frame, Calendar], Frame]
    states: Callable[[Frame, Frame], Frame]
    inherited: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ByParent:
    """The current version counts at the date of the parent row that it names.

    Attributes:
        parent: The entity of the parent row. It is dated by its own date and has a key of one column; a child names its
            parent in a column of the same name.
    """

    parent: "Entity"


@dataclass(frozen=True)
class SourceTotal:
    """An amount that the source can compute as well, so that the two results are compared.

    Attributes:
        column: The amount, a column of the cleansed table.
        what: How it is computed, in words.
        sql: The same amount in the source's SQL, before rounding.
        currency: Column of the cleansed table with the currency. The amount is rounded to the currency's minor unit.
    """

    column: str
    what: str
    sql: str
    currency: str


@dataclass(frozen=True, eq=False)
class Entity:
    """A table of a source.

    Attributes:
        name: Its name, in the source and in each layer.
        raw_model: Contract of the captured versions.
        cleansed_model: Contract of the cleansed rows.
        key: Columns that identify a row; if its parent's key is among them, it comes first.
        dating: Rule for the date at which a row counts.
        cleanse: Casts and trims the columns of rows.
        local_dates: Dates in the lake's time zone that are added, each with the instant that it comes from.
        names: Columns by which its rows name members of dimensions, each with the entity of the dimension.
        computed: Cleansed columns that do not come from the raw column of the same name, with their origins: columns of
            raw, or of the parent (`parent.column`).
        waivable: Rules that can be waived for a row, because the marts do not depend on them.
        copied: How it is copied to the warehouse; None if it is not.
        is_optional: Whether a source may lack the table.
        mixes: Columns whose mix of values is watched.
        total: An amount that the source can compute as well; None without one.
    """

    name: str
    raw_model: type[Contract]
    cleansed_model: type[Contract]
    key: tuple[str, ...]
    dating: ByCapture | ByOwnDate | ByParent
    cleanse: Callable[[Frame], Frame]
    local_dates: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, "Entity"] = field(default_factory=dict)
    computed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    waivable: tuple[str, ...] = ()
    copied: Copied | None = None
    is_optional: bool = False
    mixes: tuple[Mix, ...] = ()
    total: SourceTotal | None = None

    def __post_init__(self) -> None:
        """Refuse a key whose first column cannot be used to find the versions of a row.

        Raises:
            ValueError: The key contains the parent's key, but not as its first column.
        """
        if self.parent and self.parent.key[0] in self.key[1:]:
            raise ValueError(
                f"the key of {self.name} is {', '.join(self.key)}; expected {self.parent.key[0]}, the key of its "
                "parent, as the first column"
            )

    @property
    def is_dimension(self) -> bool:
        """Whether its rows are members of a dimension; the rows of other entities are parts of facts."""
        return isinstance(self.dating, ByCapture)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Columns that its dimension shows of a member; empty for an entity that is no dimension."""
        return self.dating.attributes if isinstance(self.dating, ByCapture) else ()

    @property
    def clock(self) -> str | None:
        """Instant of the source from which its own date is computed; None without such a date."""
        return self.dating.clock if isinstance(self.dating, ByOwnDate) else None

    @property
    def parent(self) -> "Entity | None":
        """Entity at whose date its rows count; None for an entity that has no parent."""
        return self.dating.parent if isinstance(self.dating, ByParent) else None

    @property
    def partition(self) -> str:
        """Date column of its cleansed table."""
        return "captured_on" if self.is_dimension else "order_date"

    @property
    def history_key(self) -> str | None:
        """Column by which a row's versions are found; None where rows count by capture date.

        A child whose key begins with its parent's is found by the parent's key, which all its versions share. Any other
        child is found by its own key, because its versions may name different parents.
        """
        return None if self.is_dimension else self.key[0]

    @property
    def parent_key(self) -> str | None:
        """Column with the key of the row whose date it takes: its parent, or itself; None for a dimension."""
        return None if self.is_dimension else (self.parent or self).key[0]

    @cached_property
    def raw(self) -> Table:
        """Delta table of its versions, by the date of their change clock."""
        return Table("raw", self.name, self.raw_model, self.key, "captured_on")

    @cached_property
    def cleansed(self) -> Table:
        """Delta table of valid rows, by business date; for a dimension, all valid versions by capture date."""
        computed = {
            "is_deleted": (Origin(self.raw, "deleted_at"),),
            **_JUDGED,
            **self._of_parent(),
            **{name: (Origin(self.raw, of),) for name, of in self.local_dates.items()},
            **{column: tuple(map(self._origin, of)) for column, of in self.computed.items()},
        }
        upstream = self._upstream
        return Table(
            "cleansed", self.name, self.cleansed_model, self.key, self.partition, upstream=upstream, computed=computed
        )

    @cached_property
    def quarantine(self) -> Table:
        """Delta table of rows that break a rule, in their original form, at the date at which they would count."""
        computed = dict.fromkeys((name for name, _ in _VERDICT), MADE_HERE)
        extra: tuple[tuple[str, type[pl.DataType]], ...] = _VERDICT
        if not self.is_dimension:
            extra = ((self.partition, pl.Date), *_VERDICT)
            computed[self.partition] = self.cleansed.computed[self.partition]
        return Table(
            "quarantine",
            self.name,
            self.raw_model,
            self.key,
            self.partition,
            extra,
            upstream=self._upstream,
            computed=computed,
        )

    @property
    def _upstream(self) -> tuple[Table, ...]:
        return (self.raw, self.parent.cleansed) if self.parent else (self.raw,)

    def _origin(self, column: str) -> Origin:
        """Return the origin of a column, in raw or in the parent."""
        if column.startswith("parent.") and self.parent:
            return Origin(self.parent.cleansed, column.removeprefix("parent."))
        return Origin(self.raw, column)

    def _of_parent(self) -> dict[str, tuple[Origin, ...]]:
        """Return the columns that a child has from its parent, with their origins."""
        parent = self.parent
        if parent is None or not isinstance(parent.dating, ByOwnDate):
            return {}
        table = parent.cleansed
        return {
            **{name: (Origin(table, of),) for name, of in parent.dating.inherited.items()},
            "order_date": (Origin(table, "order_date"), Origin(self.raw, "captured_on")),
            "order_state": (Origin(table, parent.key[0]), Origin(table, "is_deleted")),
            "is_deleted": (Origin(self.raw, "deleted_at"), Origin(table, "is_deleted")),
        }
