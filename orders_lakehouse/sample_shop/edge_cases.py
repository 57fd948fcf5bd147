"""Provide some orders with a row for every rule of the contracts that breaks it, and rows at the edge of rules."""

import re
from datetime import date
from importlib import resources

from orders_lakehouse.sample_shop.as_of import RECORDED, move

# The days of the shop; a year of birth and the clock of the key `later` are not among them.
_DAY = re.compile(r"201[67]-\d\d-\d\d")


def edge_cases(as_of: date = RECORDED) -> str:
    """Return the statements that insert them into a shop, for the dates from 2017-01-01 to 2017-01-09.

    Args:
        as_of: The dates move by the weeks by which the sample moves as of this date. Rows with the key `later` keep
            their change clock of 2099.
    """
    statements = resources.files(__package__).joinpath("edge_cases.sql").read_text(encoding="utf-8")
    return _DAY.sub(lambda day: str(date.fromisoformat(day[0]) + move(as_of)), statements)
