"""The storage of the lake: a directory, or a bucket that is configured with the standard `AWS_*` variables.

No function here reads or writes a table. deltalake and Polars look for credentials in different places. So botocore
finds the keys for both: environment, profile, single sign-on, web identity, role of the machine.
"""

import os
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import polars as pl
from deltalake import DeltaTable

from orders_lakehouse.errors import ExpectedError, TransientError
from orders_lakehouse.settings import settings

if TYPE_CHECKING:
    from botocore.session import Session
    from pyarrow import fs

# Retries and seconds of a request. An endpoint that does not answer fails within two minutes; the default is longer.
_RETRIES = 4
_RETRY_SECONDS = 45
_REQUEST_SECONDS = 30
_CONNECT_SECONDS = 5
# Seconds after which a new session reads the keys again. A session renews its own keys, but not those that another
# program renews in a file.
_SESSION_SECONDS = 300


class LakeError(ExpectedError):
    """The lake cannot be used; trying again does not help."""


class StorageUnavailableError(TransientError):
    """The lake's storage is unavailable at the moment; trying again may help."""


def is_s3(location: str) -> bool:
    """Return whether a table or a lake is stored in a bucket."""
    return location.startswith("s3://")


def bucket_of(location: str) -> str:
    """Return the bucket of an s3:// URL."""
    return urlsplit(location).netloc


def path_of(uri: str) -> str:
    """Return a location as people write it, a path or an s3:// URL; Delta writes a path as an escaped file:// URL."""
    return unquote(uri.removeprefix("file://")).rstrip("/")


def table_at(location: str) -> str:
    """Return layer and name of the table at a location."""
    return "/".join(location.split("/")[-2:])


def options(location: str) -> dict[str, str] | None:
    """Return deltalake's storage options for a location; None for a directory. Do not keep them, because keys expire.

    Raises:
        LakeError: There are no credentials, or they cannot be used.
        StorageUnavailableError: The provider of the credentials does not answer.
    """
    if not is_s3(location):
        return None
    session = _session()
    endpoint = _endpoint(session)
    storage_options = {
        **_keys(session),
        "AWS_REGION": region(),
        "timeout": f"{_REQUEST_SECONDS}s",
        "connect_timeout": f"{_CONNECT_SECONDS}s",
        "max_retries": str(_RETRIES),
        "retry_timeout": f"{_RETRY_SECONDS}s",
        **_encryption(),
    }
    if endpoint:
        allow_http = str(endpoint.startswith("http://")).lower()
        storage_options |= {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": allow_http}
    return storage_options


def scan(handle: DeltaTable, within: str | None = None) -> pl.LazyFrame:
    """Return the rows of a Delta table at the version of its handle, lazily.

    Args:
        handle: The table.
        within: Predicate on the partition column, in SQL; files of other partitions may be left out.
    """
    if within is not None and not is_s3(handle.table_uri) and not _has_deletions(handle):
        return _scan_files(handle, handle.file_uris(file_pruning_predicate=within))
    # Polars takes the handle's options, but needs other types and units for the retry options.
    patience = {"max_retries": _RETRIES, "retry_timeout_ms": _RETRY_SECONDS * 1000}
    return pl.scan_delta(handle, storage_options=patience if is_s3(handle.table_uri) else None)


def _scan_files(handle: DeltaTable, paths: list[str]) -> pl.LazyFrame:
    """Return the rows of some files of a table; to plan with all files takes Polars longer than to read a few."""
    schema = pl.Schema(handle.schema())
    if not paths:
        return pl.LazyFrame(schema=schema)
    partitions = handle.metadata().partition_columns
    return pl.scan_parquet(
        paths,
        schema={name: dtype for name, dtype in schema.items() if name not in partitions},
        hive_schema={name: schema[name] for name in partitions},
        hive_partitioning=True,
        missing_columns="insert",
        extra_columns="ignore",
    ).select(schema.names())


def _has_deletions(handle: DeltaTable) -> bool:
    """Return whether another program may have deleted rows without rewriting their files."""
    return "deletionVectors" in (handle.protocol().reader_features or ())


def files_at(location: str) -> "fs.PyFileSystem":
    """Return the stored files of a table as a file system with relative paths; the log is not considered."""
    from deltalake.fs import DeltaStorageHandler
    from pyarrow import fs

    return fs.PyFileSystem(DeltaStorageHandler(location, options(location)))


def client(service: str) -> Any:
    """Return a client of another AWS service, with the credentials and the region of the lake.

    Raises:
        LakeError: There are no credentials, or they cannot be used.
        StorageUnavailableError: The provider of the credentials does not answer.
    """
    from botocore.config import Config

    session = _session()
    # Raises an error of this package if the credentials cannot be used.
    _keys(session)
    patience = {"max_attempts": _RETRIES, "mode": "standard"}
    config = Config(connect_timeout=_CONNECT_SECONDS, read_timeout=_REQUEST_SECONDS, retries=patience)
    return session.create_client(service, region_name=region(), config=config)


def region() -> str:
    """Return the region that requests are signed for."""
    configured = os.environ.get("AWS_REGION") or _session().get_config_variable("region")
    return str(configured or "us-east-1")


def identity() -> str:
    """Return a description of the credentials in use, without any secret, for messages."""
    session = _session()
    profile = f", profile {session.profile}" if session.profile else ""
    credentials = session.get_credentials()
    if credentials is None:
        return f"no credentials{profile}"
    return f"access key {credentials.access_key} (from {credentials.method}{profile})"


def _session() -> "Session":
    names = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    return _session_of(names, int(time.monotonic() // _SESSION_SECONDS))


@lru_cache(maxsize=2)
def _session_of(names: tuple[tuple[str, str], ...], age: int) -> "Session":  # noqa: ARG001 (key of the cache)
    from botocore.session import get_session

    return get_session()


def _endpoint(session: "Session") -> str | None:
    configured = session.full_config["profiles"].get(session.profile or "default", {}).get("endpoint_url")
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or configured


def _keys(session: "Session") -> dict[str, str]:
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
    from botocore.exceptions import ConnectionError as NoConnectionError

    try:
        credentials = session.get_credentials()
        keys = credentials.get_frozen_credentials() if credentials else None
    except (NoConnectionError, HTTPClientError) as error:
        raise StorageUnavailableError(f"the provider of credentials for S3 does not answer: {error}") from error
    except (BotoCoreError, ClientError, OSError) as error:
        raise LakeError(
            f"the credentials for S3 cannot be used: {error}. Expected a profile (AWS_PROFILE), keys "
            "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), or a role that can be assumed."
        ) from error
    if keys is None:
        raise LakeError(
            "found no credentials for S3; expected AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a "
            "role of this machine. Set them in the environment or in .env."
        )
    named = {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
    return {**named, "AWS_SESSION_TOKEN": keys.token} if keys.token else named


def _encryption() -> dict[str, str]:
    current = settings()
    bucket_key = current.sse_bucket_key
    encryption = {
        "AWS_SERVER_SIDE_ENCRYPTION": current.server_side_encryption,
        "AWS_SSE_KMS_KEY_ID": current.sse_kms_key_id,
        "AWS_SSE_BUCKET_KEY_ENABLED": None if bucket_key is None else str(bucket_key).lower(),
    }
    return {name: value for name, value in encryption.items() if value is not None}
