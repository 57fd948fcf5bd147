"""Types of arguments and options that several commands declare. This module is fast to import."""

from datetime import datetime

import click

from orders_lakehouse.dates import YEARS, YEARS_IN_WORDS


class _Date(click.DateTime):
    """A date that a lake may have."""

    def __init__(self) -> None:
        super().__init__(formats=["%Y-%m-%d"])

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> datetime:
        """Read a date."""
        instant: datetime = super().convert(value, parameter, context)
        if instant.year not in YEARS:
            self.fail(f"{value!r} is no date of a lake; expected one of the years {YEARS_IN_WORDS}", parameter, context)
        return instant


DATE = _Date()
