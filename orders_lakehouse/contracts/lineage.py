"""Which columns the columns of a table are made of: those of their names upstream, but for what the table declares."""

from orders_lakehouse.contracts.table import Origin, Table


def origins(table: Table) -> dict[str, tuple[Origin, ...]]:
    """Where each column of a table comes from; a column without an origin is missing.

    Args:
        table: A table that is derived from others of the lake.

    Returns:
        Column name to the columns upstream that it is made of; none for what is made here.
    """
    same_name = {
        column: (Origin(source, column),)
        for source in reversed(table.upstream)
        for column in table.columns
        if column in source.columns
    }
    found = {**same_name, **table.computed}
    return {column: found[column] for column in table.columns if column in found}
