"""A handful of orders with a row for every rule of the contracts that breaks it, and for what is at the edge of one."""

from importlib import resources


def edge_cases() -> str:
    """The statements that insert them into a shop, for the dates from 2017-01-01 to 2017-01-09.

    Rows of the key `later` have a change clock of 2099.
    """
    return resources.files(__package__).joinpath("edge_cases.sql").read_text(encoding="utf-8")
