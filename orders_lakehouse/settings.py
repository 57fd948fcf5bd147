"""The settings: variables of the environment, typed and read once. No function here opens a connection.

Every variable that the lakehouse reads is a field of `Settings`. A `.env` file in the project counts as environment. An
invalid value, or an unknown `LAKEHOUSE_` name, is an error. `setting_types` has the rules for single values; this
module has those for several values together.
"""

import os
import re
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from dotenv import dotenv_values
from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from orders_lakehouse.setting_types import (
    AbsolutePath,
    GlueName,
    PathOrUrl,
    PostgresUrl,
    RoleNames,
    SchemaName,
    StartDate,
    TimeZone,
    UpperCase,
)
from orders_lakehouse.start_notes import noted_start

PROJECT = Path(__file__).resolve().parents[1]
DBT_PROJECT = PROJECT / "dbt_project"
_PREFIX = "LAKEHOUSE_"
# First partition of a new lake for which nothing else is known.
DEFAULT_START = date(2017, 1, 1)
_KMS = ("aws:kms", "aws:kms:dsse")
# URL of Spark Connect: host and port, and parameters after a slash.
_SPARK_REMOTE = re.compile(r"(sc://[^/\s;?@#]+)(?:/|/;.*)?")


class SettingsError(ValueError):
    """A variable of the environment has an invalid value or an unknown name."""


class Settings(BaseSettings):
    """All settings with their defaults."""

    model_config = SettingsConfigDict(env_file=PROJECT / ".env", env_ignore_empty=True, extra="ignore", frozen=True)

    home: AbsolutePath = Field(
        default=PROJECT / ".lakehouse",
        validation_alias="LAKEHOUSE_HOME",
        description="Directory for all local data: the embedded Postgres, the lake, Dagster's home.",
    )
    lake_url_given: PathOrUrl | None = Field(
        default=None,
        validation_alias="LAKE_URL",
        description="Root of the Delta tables, a directory or s3://bucket/prefix. Default: lake/ under LAKEHOUSE_HOME.",
    )
    shop_database_url: PostgresUrl | None = Field(
        default=None,
        validation_alias="SHOP_DATABASE_URL",
        repr=False,
        description="Postgres URL of the shop. Default: the embedded server's database `shop`.",
    )
    warehouse_database_url: PostgresUrl | None = Field(
        default=None,
        validation_alias="WAREHOUSE_DATABASE_URL",
        repr=False,
        description="Postgres URL of the warehouse. Default: the embedded server's database `warehouse`.",
    )
    lake_schema: SchemaName = Field(
        default="lake",
        validation_alias="LAKEHOUSE_LAKE_SCHEMA",
        description="Schema of the warehouse for the copies of lake tables.",
    )
    staging_schema: SchemaName = Field(
        default="staging",
        validation_alias="LAKEHOUSE_STAGING_SCHEMA",
        description="Schema of the warehouse for dbt's staging views.",
    )
    marts_schema: SchemaName = Field(
        default="marts",
        validation_alias="LAKEHOUSE_MARTS_SCHEMA",
        description="Schema of the warehouse for the dimensions and facts.",
    )
    readers: RoleNames = Field(
        default="",
        validation_alias="LAKEHOUSE_READERS",
        description="Roles of the warehouse, with commas between them, that may read the dimensions and facts.",
    )
    start_date_given: StartDate | None = Field(
        default=None,
        validation_alias="LAKEHOUSE_START_DATE",
        description=(
            "First partition. Earlier changes are captured on it. Written into the tables; `lakehouse migrate` moves "
            f"it to an earlier date. Default: that of the lake; of a new lake, {DEFAULT_START}, and of the demo, the "
            "shop's first day."
        ),
    )
    timezone: TimeZone = Field(
        default="UTC",
        validation_alias="LAKEHOUSE_TIMEZONE",
        description=(
            "Time zone (IANA) in which a timestamp becomes a date, by the calendar that the lake stores. Written into "
            "the tables; it cannot change later."
        ),
    )
    holidays_country: UpperCase = Field(
        default="US",
        validation_alias="LAKEHOUSE_HOLIDAYS_COUNTRY",
        description=(
            "Country (ISO 3166 alpha-2) of the public holidays in dim_date. A lake that has holidays keeps their "
            "country until `lakehouse calendar --apply`."
        ),
    )
    quarantine_limit: float = Field(
        default=0.5,
        ge=0,
        le=1,
        allow_inf_nan=False,
        validation_alias="LAKEHOUSE_QUARANTINE_LIMIT",
        description="Share of a date's rows that may be in quarantine before the date counts as broken, 0 to 1.",
    )
    waivers: AbsolutePath = Field(
        default=PROJECT / "waivers.toml",
        validation_alias="LAKEHOUSE_WAIVERS",
        description="File of the waivers: which rows may break which rules, why, and until when.",
    )
    engine: Literal["polars", "spark"] = Field(
        default="polars",
        validation_alias="LAKEHOUSE_ENGINE",
        description="Engine that derives and checks dates: Polars in the run's process, or the Spark of SPARK_REMOTE.",
    )
    spark_remote: str | None = Field(
        default=None,
        validation_alias="SPARK_REMOTE",
        repr=False,
        description="Spark Connect URL of the cluster, sc://host:port; read where the engine is spark.",
    )
    emr_job: AbsolutePath | None = Field(
        default=None,
        validation_alias="LAKEHOUSE_EMR_JOB",
        description="JSON file with the parameters of StartJobRun: dates are then derived as jobs on EMR Serverless.",
    )
    memory_gb: float | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        allow_inf_nan=False,
        validation_alias="LAKEHOUSE_MEMORY_GB",
        description=(
            "Memory (GB) that a run's process may use. A range of dates that needs more is derived in batches, and a "
            "single date that needs more causes a warning. Default: half the memory of the machine or the container."
        ),
    )
    executor: Literal["threads", "in_process", "multiprocess"] = Field(
        default="threads",
        validation_alias="LAKEHOUSE_EXECUTOR",
        description=(
            "How a run executes its steps: two at a time in one process, one after the other in one process, or one "
            "process for each step."
        ),
    )
    sensors: Literal["running", "stopped"] = Field(
        default="running",
        validation_alias="LAKEHOUSE_SENSORS",
        description="Whether sensors and schedules are on at first; the UI switches each of them.",
    )
    ui_hosts: str = Field(
        default="localhost",
        validation_alias="LAKEHOUSE_UI_HOSTS",
        description=(
            "Names, with commas between them, under which a browser may call the UI of `lakehouse dev`; localhost, "
            "127.0.0.1 and [::1] are always allowed."
        ),
    )
    repair_days: int = Field(
        default=90,
        ge=1,
        le=36_500,
        validation_alias="LAKEHOUSE_REPAIR_DAYS",
        description="Number of last dates that the weekly repair derives again.",
    )
    reconcile_applies: bool = Field(
        default=True,
        validation_alias="LAKEHOUSE_RECONCILE_APPLIES",
        description=(
            "Whether the nightly comparison with the shop captures missed rows and writes tombstones for rows that are "
            "gone; false: it only reports them."
        ),
    )
    gone_limit: float = Field(
        default=0.05,
        ge=0,
        le=1,
        allow_inf_nan=False,
        validation_alias="LAKEHOUSE_GONE_LIMIT",
        description=(
            "Share of the keys of a table, or of one of its capture dates, that may be gone at once, 0 to 1. If more "
            "are gone, they are only reported, until `lakehouse reconcile --apply --allow`."
        ),
    )
    retention_days: int = Field(
        default=30,
        ge=7,
        le=36_500,
        validation_alias="LAKEHOUSE_RETENTION_DAYS",
        description="Number of days for which older versions of a table can be read, at least 7.",
    )
    keep_runs: int = Field(
        default=500,
        ge=1,
        le=1_000_000,
        validation_alias="LAKEHOUSE_KEEP_RUNS",
        description=(
            "Number of newest runs that keep their logs and events. Older runs keep only the newest event of each "
            "asset and date and the newest evaluation of each check."
        ),
    )
    dbt_artifacts: Literal["failed", "all"] = Field(
        default="failed",
        validation_alias="LAKEHOUSE_DBT_ARTIFACTS",
        description=(
            "Builds of dbt whose logs and artifacts stay: only the last failed one, or all until their run is pruned."
        ),
    )
    freshness_minutes: int = Field(
        default=60,
        ge=1,
        le=1_000_000,
        validation_alias="LAKEHOUSE_FRESHNESS_MINUTES",
        description="Minutes that a layer may lag before a check warns; four times as many are an error.",
    )
    unusual: float = Field(
        default=4.0,
        gt=0,
        le=1_000_000,
        validation_alias="LAKEHOUSE_UNUSUAL",
        description=(
            "Number of deviations from the usual volume of a date beyond which a check warns; 2.5 times as many are an "
            "error. 1.5 finds smaller differences, and flags every fifth ordinary date."
        ),
    )
    glue_database: GlueName | None = Field(
        default=None,
        validation_alias="LAKEHOUSE_GLUE_DATABASE",
        description=(
            "Database of AWS Glue in which `lakehouse register`, and a job every night, register the tables of a lake "
            "on S3. Default: none; nothing is registered."
        ),
    )
    server_side_encryption: Literal["AES256", "aws:kms", "aws:kms:dsse"] | None = Field(
        default=None,
        validation_alias="AWS_SERVER_SIDE_ENCRYPTION",
        description="Encryption of written objects in S3. Default: that of the bucket.",
    )
    sse_kms_key_id: str | None = Field(
        default=None,
        validation_alias="AWS_SSE_KMS_KEY_ID",
        description="KMS key that S3 encrypts with. Default: the key aws/s3 of the account.",
    )
    sse_bucket_key: bool | None = Field(
        default=None,
        validation_alias="AWS_SSE_BUCKET_KEY_ENABLED",
        description="Whether S3 uses a key of the bucket, for fewer calls of KMS. Default: that of the bucket.",
    )

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
    def _three_schemas(self) -> "Settings":
        schemas = (self.lake_schema, self.staging_schema, self.marts_schema)
        if len(set(schemas)) < len(schemas):
            raise ValueError(
                f"LAKEHOUSE_LAKE_SCHEMA, LAKEHOUSE_STAGING_SCHEMA and LAKEHOUSE_MARTS_SCHEMA are {', '.join(schemas)}; "
                "expected three different schemas"
            )
        return self

    @model_validator(mode="after")
    def _known_cluster(self) -> "Settings":
        if self.engine == "spark" and not _SPARK_REMOTE.fullmatch(self.spark_remote or ""):
            # The value is not shown, because an invalid URL may have a token anywhere.
            found = "something else" if self.spark_remote else "not set"
            raise ValueError(
                f"LAKEHOUSE_ENGINE is spark, and SPARK_REMOTE is {found}; expected the URL of a Spark Connect "
                "endpoint, sc://host:port, or with parameters sc://host:port/;token=..."
            )
        return self

    @model_validator(mode="after")
    def _readable_path(self) -> "Settings":
        # Polars searches the files of a Delta table by their escaped names, and does not find them.
        if "://" not in self.lake_url and quote(self.lake_url) != self.lake_url:
            raise ValueError(
                f"the lake would be in {self.lake_url!r}, which has characters that Delta escapes (a space, an "
                "accent); set LAKE_URL or LAKEHOUSE_HOME to a path of plain letters, digits and ._~/-"
            )
        return self

    @model_validator(mode="after")
    def _kms_settings_need_kms(self) -> "Settings":
        if (self.sse_kms_key_id or self.sse_bucket_key) and self.server_side_encryption not in _KMS:
            raise ValueError(
                f"found AWS_SERVER_SIDE_ENCRYPTION={self.server_side_encryption or 'nothing'}; AWS_SSE_KMS_KEY_ID and "
                f"AWS_SSE_BUCKET_KEY_ENABLED need AWS_SERVER_SIDE_ENCRYPTION={_KMS[0]}"
            )
        return self

    @model_validator(mode="after")
    def _known_store(self) -> "Settings":
        scheme, separator, rest = self.lake_url.partition("://")
        if separator and (scheme != "s3" or not rest.strip("/")):
            # The message hides credentials, which some people write into the URL.
            found = re.sub(r"://[^/@]*@", "://***@", self.lake_url)
            raise ValueError(f"LAKE_URL is {found!r}; expected a directory or s3://bucket/prefix")
        return self

    @property
    def ui_host_names(self) -> list[str]:
        """Return the names under which the UI may be called."""
        return [name.strip().strip("[]") for name in self.ui_hosts.split(",") if name.strip()]

    @property
    def spark_endpoint(self) -> str:
        """Return the URL of the cluster without its parameters, because one of them may be a token."""
        match = _SPARK_REMOTE.fullmatch(self.spark_remote or "")
        return match[1] if match else "a URL that cannot be read"

    @property
    def lake_url(self) -> str:
        """Return the root of the Delta tables, without a trailing slash; each branch of Dagster+ has its own."""
        if self.lake_url_given is None:
            root = str(self.home / "lake")
        elif "://" in self.lake_url_given:
            root = self.lake_url_given.rstrip("/")
        else:
            root = str(Path(self.lake_url_given).expanduser().resolve())
        branch = os.environ.get("DAGSTER_CLOUD_DEPLOYMENT_NAME")
        is_branch = os.environ.get("DAGSTER_CLOUD_IS_BRANCH_DEPLOYMENT") == "1"
        return f"{root}/branches/{branch}" if is_branch and branch else root

    @property
    def start_date(self) -> date:
        """Return the first partition: the given one, else the one noted for the lake, else the default."""
        return self.start_date_given or noted_start(self.home, self.lake_url) or DEFAULT_START

    @property
    def dagster_home(self) -> Path:
        """Return the directory of Dagster's instance."""
        # Dagster requires an absolute path.
        return Path(os.environ.get("DAGSTER_HOME") or self.home / "dagster").absolute()


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the current settings, which are read at the first call.

    Raises:
        SettingsError: A value or a name in the environment is invalid.
    """
    _write_service_into_urls()
    try:
        current = Settings()
    except UnicodeDecodeError as error:
        raise SettingsError(f"the file .env cannot be read: {error}; expected UTF-8") from None
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
    _export_aws_names()
    return current


def _write_service_into_urls() -> None:
    """Move PGSERVICE into the configured database URLs, for this process and its children.

    In the environment, libpq would also use the service for connections to the embedded server.
    """
    service = os.environ.pop("PGSERVICE", None)
    dotenv = Settings.model_config.get("env_file")
    written = dotenv_values(str(dotenv)) if dotenv else {}
    for name in ("SHOP_DATABASE_URL", "WAREHOUSE_DATABASE_URL") if service else ():
        url = os.environ.get(name) or written.get(name)
        if url and not re.search(r"[?&]service=", url):
            os.environ[name] = f"{url}{'&' if '?' in url else '?'}service={quote(str(service), safe='')}"


def _export_aws_names() -> None:
    """Export the `AWS_*` names of `.env` to the environment, where clients of S3 look; existing values stay."""
    dotenv = Settings.model_config.get("env_file")
    for name, value in dotenv_values(str(dotenv)).items() if dotenv else ():
        if name.startswith("AWS_") and value:
            os.environ.setdefault(name, value)
