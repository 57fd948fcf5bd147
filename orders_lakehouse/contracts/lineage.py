"""Trace the columns of a table to columns upstream: to those of the same name, unless the table declares otherwise."""

from orders_lakehouse.contracts.table import Origin, Table


def origins(table: Table) -> dict[str, tuple[Origin, ...]]:
    """Return the origins of each column of a table; a column without an origin is missing.

    Args:
        table: A table that is derived from others of the lake.

    Returns:
        Columns upstream that a column is made of, by its name; an empty tuple for a column that is made in the table.
    """
    same_name = {
        column: (Origin(source, column),)
        for source in reversed(table.upstream)
        for column in table.columns
        if column in source.columns
    }
    origins_of = {**same_name, **table.computed}
    return {column: origins_of[column] for column in table.columns if column in origins_of}
