"""Types of arguments and options that several commands declare. This module is fast to import."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import click

from orders_lakehouse.dates import YEARS, YEARS_IN_WORDS

# Words for dates, in the lake's time zone, to days before today.
_WORDS = {"today": 0, "yesterday": 1}


class _Date(click.DateTime):
    """A date that a lake may have, or a word for one."""

    def __init__(self) -> None:
        super().__init__(formats=["%Y-%m-%d"])

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> datetime:
        """Read a date."""
        if value in _WORDS:
            return today() - timedelta(days=_WORDS[str(value)])
        instant: datetime = super().convert(value, parameter, context)
        if instant.year not in YEARS:
            self.fail(f"{value!r} is no date of a lake; expected one of the years {YEARS_IN_WORDS}", parameter, context)
        return instant


def today() -> datetime:
    """Return midnight of today in the lake's time zone, without a zone, as click reads dates."""
    from orders_lakehouse.settings import settings

    return datetime.now(ZoneInfo(settings().timezone)).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)


DATE = _Date()
