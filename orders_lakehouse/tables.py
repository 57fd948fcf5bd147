"""All Delta tables of the lake: those of entities, curated tables, and tables for bookkeeping.

Other modules take tables from these groups, and never name a table of the shop.
"""

from orders_lakehouse.contracts.bookkeeping import Calendar, CheckResults, KeyDates, SourceColumns
from orders_lakehouse.contracts.checks import AS_IN_SHOP, MIX_AS_USUAL, TELLING
from orders_lakehouse.contracts.table import MADE_HERE, Origin, Table
from orders_lakehouse.curated.base import Cumulative, Curated, Fact
from orders_lakehouse.curated.registry import CURATED_TABLES
from orders_lakehouse.entities.base import Entity
from orders_lakehouse.entities.registry import ENTITIES

RAW = tuple(entity.raw for entity in ENTITIES)
CLEANSED = tuple(entity.cleansed for entity in ENTITIES)
QUARANTINE = tuple(entity.quarantine for entity in ENTITIES)
CURATED = tuple(curated.table for curated in CURATED_TABLES)

ENTITY_OF = {entity.name: entity for entity in ENTITIES}
RAW_OF = {entity.name: entity.raw for entity in ENTITIES}
QUARANTINE_OF = {entity.name: entity.quarantine for entity in ENTITIES}
CURATED_OF = {curated.name: curated for curated in CURATED_TABLES}

# Tables from which the warehouse builds dimensions; facts can be built without their rows.
DIMENSIONS = tuple(entity.cleansed for entity in ENTITIES if entity.is_dimension)
# Entities whose rows count by business date, and those among them that have their own date.
DATED = tuple(entity for entity in ENTITIES if not entity.is_dimension)
ROOTS = tuple(entity for entity in DATED if entity.parent is None)
# The main root: its latest date is the latest date of the shop.
ROOT = ROOTS[0]
# Tables with a fact in the warehouse, and tables of measures by date, the shop's daily numbers first.
FACTS: tuple[tuple[Curated, Fact], ...] = tuple((curated, curated.fact) for curated in CURATED_TABLES if curated.fact)
VOLUMES = tuple((curated, curated.volume) for curated in CURATED_TABLES if curated.volume)

# The index of raw: capture dates of the versions of all rows that count by business date.
KEY_DATES = Table(
    "raw",
    "key_dates",
    KeyDates,
    ("table_name", "key", "order_id", "captured_on", "order_date"),
    upstream=tuple(entity.raw for entity in DATED),
    computed={
        "table_name": MADE_HERE,
        "key": tuple(Origin(entity.raw, str(entity.history_key)) for entity in DATED),
        "order_id": tuple(Origin(entity.raw, str(entity.parent_key)) for entity in DATED),
        "captured_on": tuple(Origin(entity.raw, "captured_on") for entity in DATED),
        "order_date": tuple(
            Origin(entity.raw, column) for entity in ROOTS for column in entity.computed.get("order_date", ())
        ),
    },
)
SOURCE_COLUMNS = Table("raw", "source_columns", SourceColumns, ("table_name", "column_name", "seen_at"))
CALENDAR = Table("raw", "calendar", Calendar, ("date",))
CHECK_RESULTS = Table("checks", "results", CheckResults, ("asset", "check_name", "date"))

TABLES = (*RAW, KEY_DATES, SOURCE_COLUMNS, CALENDAR, *CLEANSED, *QUARANTINE, *CURATED, CHECK_RESULTS)

# Checks that only inform people and never stop a run, whatever their severity; `stops` decides about the others.
NOT_BLOCKING = TELLING.union(
    (MIX_AS_USUAL.format(mix.column) for entity in ENTITIES for mix in entity.mixes),
    (MIX_AS_USUAL.format(mix.column) for curated in CURATED_TABLES for mix in curated.mixes),
    (AS_IN_SHOP.format(entity.total.column) for entity in ENTITIES if entity.total),
)

# Rules that can be waived, because the marts do not depend on them. Curated contracts repeat some of these rules; their
# checks know which rows are made from a waived row.
WAIVABLE = frozenset(rule for entity in ENTITIES for rule in entity.waivable)

# Layers that rows of a dimension pass before its members are built.
_LAYERS = ("raw", "cleansed")
OF_DIMENSIONS = frozenset(
    path
    for table in DIMENSIONS
    for path in (*(f"{layer}/{table.name}" for layer in _LAYERS), f"marts/dim_{table.name}")
)


def entity_of(table: Table) -> Entity:
    """Return the entity of a raw, cleansed or quarantine table."""
    return ENTITY_OF[table.name]


def cumulated_over(table: Table) -> list[Table]:
    """Return the cumulative tables that are updated from changed dates of a table."""
    return [
        curated.table
        for curated in CURATED_TABLES
        if isinstance(curated.recipe, Cumulative) and curated.recipe.source == table
    ]


def dimension_of(table: Table) -> str:
    """Return the name of the dimension that is built from a cleansed table."""
    return f"dim_{table.name}"


def stops(asset: str, check_name: str) -> bool:
    """Return whether a failed check stops its run before the next stage is written.

    A dimension infers members whose rows it lacks, so its checks never stop a run.

    Args:
        asset: Checked table, layer/name.
        check_name: Name of the check.
    """
    return check_name not in NOT_BLOCKING and asset not in OF_DIMENSIONS
