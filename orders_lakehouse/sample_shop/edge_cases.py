"""Provide some orders with a row for every rule of the contracts that breaks it, and rows at the edge of rules."""

from importlib import resources


def edge_cases() -> str:
    """Return the statements that insert them into a shop, for the dates from 2017-01-01 to 2017-01-09.

    Rows with the key `later` have a change clock of 2099.
    """
    return resources.files(__package__).joinpath("edge_cases.sql").read_text(encoding="utf-8")
