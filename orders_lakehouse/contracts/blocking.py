"""Which checks stop a run: those of what facts are made of.

A dimension infers the members whose rows it lacks, so none of its checks stops.
"""

from orders_lakehouse.contracts.checks import NOT_BLOCKING
from orders_lakehouse.contracts.tables import DIMENSIONS, Table

# What becomes of a dimension's rows on their way to its members: captured, cleansed, copied, built.
_LAYERS = ("raw", "cleansed", "warehouse")
OF_DIMENSIONS = frozenset(
    path
    for table in DIMENSIONS
    for path in (*(f"{layer}/{table.name}" for layer in _LAYERS), f"marts/dim_{table.name}")
)


def dimension_of(table: Table) -> str:
    """Name of the dimension that is made of a cleansed table."""
    return f"dim_{table.name}"


def stops(asset: str, check_name: str) -> bool:
    """Whether a check that fails stops its run before the next stage is written.

    Args:
        asset: Checked table, layer/name.
        check_name: Name of the check.
    """
    return check_name not in NOT_BLOCKING and asset not in OF_DIMENSIONS
