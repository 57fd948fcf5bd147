"""What an entity declares; all that varies from one source table to another stands in its declaration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from orders_lakehouse.calendar import Calendar
from orders_lakehouse.contracts.base import Contract
from orders_lakehouse.contracts.table import MADE_HERE, Copied, Mix, Origin, Table
from orders_lakehouse.contracts.types import Frame

# Columns of a quarantine row beside the original ones: why it was rejected, by which contract, for how many versions.
_VERDICT = (("reasons", pl.String), ("contract_version", pl.String), ("versions", pl.Int64))
_JUDGED = dict.fromkeys(("versions", "candidates", "warnings"), MADE_HERE)


@dataclass(frozen=True)
class ByCapture:
    """Every version counts at the date on which it was captured, and stays: the members of a dimension.

    Attributes:
        attributes: What the dimension shows of a member. Versions that are equal in these are one member, so neither
            clocks nor what tells where a version comes from is among them.
    """

    attributes: tuple[str, ...]


@dataclass(frozen=True)
class ByOwnDate:
    """The current version counts at a business date of its own; children count with it.

    Attributes:
        clock: Instant of the source that the date is made of.
        dated: Adds `order_date` (the partition), and what else the date is made of.
        states: Makes, of cleansed rows and of those in quarantine, what became of each row: the key, order_date,
            order_state, and the columns that children inherit.
        inherited: Columns that children inherit, with the columns that they are made of.
    """

    clock: str
    dated: Callable[[Frame, Calendar], Frame]
    states: Callable[[Frame, Frame], Frame]
    inherited: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ByParent:
    """The current version counts at the date of the row that it names.

    Attributes:
        parent: The entity of that row, which is dated by its own date and has a key of one column. A child names it in
            a column of that name.
    """

    parent: "Entity"


@dataclass(frozen=True)
class SourceTotal:
    """An amount that the source can work out by itself, to compare.

    Attributes:
        column: The amount, of the cleansed table.
        what: How it is worked out, in words.
        sql: The same amount as the source's SQL, before it is rounded.
        currency: Column of the cleansed table by whose minor unit it is rounded.
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
        raw_model: Contract of its versions as they are captured.
        cleansed_model: Contract of its rows as later layers read them.
        key: Columns that identify a row; the key of its parent first, where it is one of them.
        dating: At which date a row counts.
        cleanse: Types and trims the columns of its rows.
        local_dates: Dates in the lake's time zone that are added, with the instants that they are of.
        names: Columns by which its rows name a member of a dimension, each with the entity of that dimension.
        computed: Cleansed columns that are made of other columns than the one of their name: of raw, or of the parent
            (`parent.column`).
        waivable: Rules that can be waived for a row, because the marts do not depend on them.
        copied: How it is copied to the warehouse; None: it is not.
        is_optional: Whether a source may lack it.
        mixes: Columns whose mix of values is watched.
        total: An amount that the source works out, too.
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
        """Refuse a key whose first column does not find the versions of a row.

        Raises:
            ValueError: The key of the parent stands in the key, and not first.
        """
        if self.parent and self.parent.key[0] in self.key[1:]:
            raise ValueError(
                f"the key of {self.name} is {', '.join(self.key)}; expected {self.parent.key[0]}, the key of its "
                "parent, as the first column"
            )

    @property
    def is_dimension(self) -> bool:
        """Whether the warehouse makes a dimension with members of it; facts do without their rows."""
        return isinstance(self.dating, ByCapture)

    @property
    def attributes(self) -> tuple[str, ...]:
        """What its dimension shows of a member; none without one."""
        return self.dating.attributes if isinstance(self.dating, ByCapture) else ()

    @property
    def clock(self) -> str | None:
        """Instant of the source that its own date is made of; None for one without."""
        return self.dating.clock if isinstance(self.dating, ByOwnDate) else None

    @property
    def parent(self) -> "Entity | None":
        """The entity at whose date its rows count; None for one that has a date of its own."""
        return self.dating.parent if isinstance(self.dating, ByParent) else None

    @property
    def partition(self) -> str:
        """Date column of its cleansed table."""
        return "captured_on" if self.is_dimension else "order_date"

    @property
    def history_key(self) -> str | None:
        """The column by which a row's versions are found; None where they count by capture date.

        All versions of a child whose key begins with its parent's share that one; any other may name another parent
        from one version to the next.
        """
        return None if self.is_dimension else self.key[0]

    @property
    def parent_key(self) -> str | None:
        """The column by which its rows name the dated row: of a parent, or of their own."""
        return None if self.is_dimension else (self.parent or self).key[0]

    @cached_property
    def raw(self) -> Table:
        """Its versions, by the date of their change clock."""
        return Table("raw", self.name, self.raw_model, self.key, "captured_on")

    @cached_property
    def cleansed(self) -> Table:
        """Its rows that hold their contract, by business date (all versions by capture date, for a dimension)."""
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
        """Its rows that break a rule, as they came, at the date at which they would count."""
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
        """A column of raw, or of the parent."""
        if column.startswith("parent.") and self.parent:
            return Origin(self.parent.cleansed, column.removeprefix("parent."))
        return Origin(self.raw, column)

    def _of_parent(self) -> dict[str, tuple[Origin, ...]]:
        """What a child has of its parent."""
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
