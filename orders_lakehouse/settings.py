"""The environment, typed and read once. Nothing here opens a connection.

Every variable the lakehouse reads is a field of `Settings`; a `.env` file in the project counts as
environment. A value that cannot be understood, or a `LAKEHOUSE_` name that does not exist, is an error.
"""

import os
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv import dotenv_values
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT = Path(__file__).resolve().parents[1]
DBT_PROJECT = PROJECT / "dbt_project"
_PREFIX = "LAKEHOUSE_"
# Files among the time zones that name no place, and mean another thing on each machine.
_NO_PLACE = {"Factory", "localtime", "posixrules"}


class SettingsError(ValueError):
    """The environment asks for something the lakehouse does not understand."""


class Settings(BaseSettings):
    """What can be configured, with its default."""

    model_config = SettingsConfigDict(env_file=PROJECT / ".env", env_ignore_empty=True, extra="ignore", frozen=True)

    home: Path = Field(
        default=PROJECT / ".lakehouse",
        validation_alias="LAKEHOUSE_HOME",
        description="Directory in which everything local lives: the embedded Postgres, the lake, Dagster's home.",
    )
    lake_url_given: str | None = Field(
        default=None,
        validation_alias="LAKE_URL",
        description="Root of the Delta tables, a directory or s3://bucket/prefix. Default: lake/ under LAKEHOUSE_HOME.",
    )
    shop_database_url: str | None = Field(
        default=None,
        validation_alias="SHOP_DATABASE_URL",
        repr=False,
        description="Postgres URL of the shop. Default: the embedded server's database `shop`.",
    )
    warehouse_database_url: str | None = Field(
        default=None,
        validation_alias="WAREHOUSE_DATABASE_URL",
        repr=False,
        description="Postgres URL of the warehouse. Default: the embedded server's database `warehouse`.",
    )
    start_date: date = Field(
        default=date(2017, 1, 1),
        validation_alias="LAKEHOUSE_START_DATE",
        description="First partition. What changed before it is captured on it.",
    )
    timezone: str = Field(
        default="UTC",
        validation_alias="LAKEHOUSE_TIMEZONE",
        description="Time zone in which a timestamp becomes a date. Written into the tables; it cannot change later.",
    )
    holidays_country: str = Field(
        default="US",
        validation_alias="LAKEHOUSE_HOLIDAYS_COUNTRY",
        description="Country (ISO 3166 alpha-2) whose public holidays dim_date knows.",
    )
    engine: Literal["polars"] = Field(
        default="polars",
        validation_alias="LAKEHOUSE_ENGINE",
        description="Engine that runs the transformations.",
    )
    executor: Literal["in_process", "multiprocess"] = Field(
        default="in_process",
        validation_alias="LAKEHOUSE_EXECUTOR",
        description="How a run executes its steps: in one process, or one process for each step.",
    )

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        problem = ValueError(f"{value!r} is no IANA time zone; expected a name such as 'Europe/Berlin'")
        if value in _NO_PLACE:
            raise problem
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise problem from error
        return value

    @field_validator("start_date")
    @classmethod
    def _after_the_beginning_of_time(cls, value: date) -> date:
        if value.year <= 1900:
            raise ValueError(f"{value} is too early; expected a date after 1900, where dimension history begins")
        return value

    @field_validator("holidays_country")
    @classmethod
    def _upper_case(cls, value: str) -> str:
        return value.upper()

    @field_validator("shop_database_url", "warehouse_database_url")
    @classmethod
    def _postgres_url(cls, value: str | None) -> str | None:
        problem = ValueError("not a Postgres URL; expected postgresql://user:password@host:port/database")
        try:
            scheme = urlsplit(value or "postgresql:").scheme
        except ValueError:
            # The parser's own message quotes the URL, and the password with it.
            raise problem from None
        if scheme not in ("postgresql", "postgres"):
            raise problem
        return value

    @model_validator(mode="after")
    def _no_unknown_names(self) -> "Settings":
        known = {str(field.validation_alias) for field in type(self).model_fields.values()}
        dotenv = self.model_config.get("env_file")
        given = {*os.environ, *(dotenv_values(str(dotenv)) if dotenv else ())}
        unknown = sorted(name for name in given if name.startswith(_PREFIX) and name not in known)
        if unknown:
            choices = ", ".join(sorted(name for name in known if name.startswith(_PREFIX)))
            raise ValueError(f"unknown setting {', '.join(unknown)}; the settings are {choices}")
        return self

    @model_validator(mode="after")
    def _readable_path(self) -> "Settings":
        # Polars looks for the files of a Delta table by their escaped names, and does not find them.
        if "://" not in self.lake_url and quote(self.lake_url) != self.lake_url:
            raise ValueError(
                f"the lake would lie in {self.lake_url!r}, which has characters that Delta escapes (a space, an "
                "accent); set LAKE_URL or LAKEHOUSE_HOME to a path of plain letters, digits and ._~/-"
            )
        return self

    @property
    def lake_url(self) -> str:
        """Root of the Delta tables, without a trailing slash."""
        if self.lake_url_given is None:
            return str(self.home / "lake")
        if "://" in self.lake_url_given:
            return self.lake_url_given.rstrip("/")
        return str(Path(self.lake_url_given).expanduser().resolve())

    @property
    def dagster_home(self) -> Path:
        """Directory of Dagster's instance."""
        return Path(os.environ.get("DAGSTER_HOME") or self.home / "dagster")


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings in force, read at the first call.

    Raises:
        SettingsError: A value or a name in the environment is not understood.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = "\n".join(
            f"  {'.'.join(str(part) for part in problem['loc']) or 'environment'}: {problem['msg']}"
            + (
                f" (found {problem['input']!r})"
                if isinstance(problem["input"], str) and "URL" not in str(problem["loc"])
                else ""
            )
            for problem in error.errors()
        )
        raise SettingsError(f"the environment cannot be read:\n{problems}") from None
