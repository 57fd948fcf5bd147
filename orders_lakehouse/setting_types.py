"""Types of settings: rules for single values. A refused value gets a message that says what is expected."""

import re
from datetime import date
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator

from orders_lakehouse.dates import YEARS, YEARS_IN_WORDS

# Files among the time zones that are no zone of a place; their content differs between machines.
_NO_PLACE = {"Factory", "localtime", "posixrules"}
# Prefix of zones that count leap seconds. No other clock here does, so their midnights would be half a minute off.
_WITH_LEAP_SECONDS = "right/"
# Names that mean the same in Postgres with and without quotes.
_PLAIN_NAME = "[a-z_][a-z0-9_]{0,62}"


def _followed(path: Path) -> Path:
    try:
        return path.expanduser().resolve()
    except (OSError, RuntimeError) as error:
        # The home folder of an unknown user, or circular links.
        raise ValueError(f"not a path that can be resolved: {error}") from error


def _path_or_url(value: str) -> str:
    if "://" not in value:
        _followed(Path(value))
    return value


def _postgres_url(value: str) -> str:
    problem = ValueError("not a Postgres URL; expected postgresql://user:password@host:port/database")
    try:
        scheme = urlsplit(value).scheme
    except ValueError:
        # The parser's own message quotes the URL, and the password with it.
        raise problem from None
    if scheme not in ("postgresql", "postgres"):
        raise problem
    return value


def _schema_name(value: str) -> str:
    if re.fullmatch(_PLAIN_NAME, value) is None or value.startswith("pg_") or value == "information_schema":
        raise ValueError(
            "not a name of a schema without quotes; expected at most 63 lower-case letters, digits and "
            "underscores, not beginning with a digit or pg_"
        )
    return value


def _role_names(value: str) -> str:
    names = [name.strip() for name in value.split(",") if name.strip()]
    wrong = [name for name in names if re.fullmatch(_PLAIN_NAME, name) is None]
    if wrong:
        raise ValueError(
            f"{', '.join(map(repr, wrong))}: not a name of a role without quotes; expected names of lower-case "
            "letters, digits and underscores, with commas between them"
        )
    return ",".join(names)


def _glue_name(value: str) -> str:
    if re.fullmatch("[a-z0-9_]{1,255}", value) is None:
        raise ValueError("not a name for both Athena and Glue; expected lower-case letters, digits and underscores")
    return value


def _time_zone(value: str) -> str:
    problem = ValueError(f"{value!r} is not an IANA time zone; expected a name such as 'Europe/Berlin'")
    if value in _NO_PLACE or value.startswith(_WITH_LEAP_SECONDS):
        raise problem
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise problem from error
    return value


def _start_date(value: date) -> date:
    if value.year <= 1900:
        raise ValueError(f"{value} is too early; expected a date after 1900, where dimension history begins")
    if value.year not in YEARS:
        raise ValueError(f"{value} is too late; expected a date in the years {YEARS_IN_WORDS}")
    return value


AbsolutePath = Annotated[Path, AfterValidator(_followed)]
PathOrUrl = Annotated[str, AfterValidator(_path_or_url)]
PostgresUrl = Annotated[str, AfterValidator(_postgres_url)]
# Names that Postgres accepts without quotes: one schema, or several roles separated by commas.
SchemaName = Annotated[str, AfterValidator(_schema_name)]
RoleNames = Annotated[str, AfterValidator(_role_names)]
GlueName = Annotated[str, AfterValidator(_glue_name)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]
StartDate = Annotated[date, AfterValidator(_start_date)]
UpperCase = Annotated[str, AfterValidator(str.upper)]
