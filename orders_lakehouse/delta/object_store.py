"""Where the lake lies: a directory, or a bucket with the standard `AWS_*` names. Nothing here reads or writes a table.

The writer (deltalake) and the reader (Polars) sign with keys that they are given, but look for them in other places. So
botocore finds the keys for both: environment, profile, single sign-on, web identity, role of the machine.
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

# An endpoint that does not answer fails within a minute or two, where the default is several.
_RETRIES = 4
_RETRY_SECONDS = 45
_REQUEST_SECONDS = 30
_CONNECT_SECONDS = 5
# Keys that expire are renewed by their session; keys that somebody else renews, in a file, are looked for anew.
_SESSION_SECONDS = 300


class LakeError(ExpectedError):
    """The lake cannot be used as it is; trying again does not help."""


class StorageUnavailableError(TransientError):
    """The lake's storage does not answer at the moment; trying again may help."""


def is_s3(location: str) -> bool:
    """Whether a table or a lake lies in a bucket."""
    return location.startswith("s3://")


def bucket_of(location: str) -> str:
    """Bucket of an s3:// URL."""
    return urlsplit(location).netloc


def path_of(uri: str) -> str:
    """A location as people write it: a path, or an s3:// URL; as Delta has it, a path is a file:// URL with escapes."""
    return unquote(uri.removeprefix("file://")).rstrip("/")


def table_at(location: str) -> str:
    """Layer and name of the table at a location."""
    return "/".join(location.split("/")[-2:])


def options(location: str) -> dict[str, str] | None:
    """What deltalake needs to know to use a location; None for a directory. Ask anew for each use: keys expire.

    Raises:
        LakeError: There are no credentials, or they cannot be used.
        StorageUnavailableError: Who gives the credentials does not answer.
    """
    if not is_s3(location):
        return None
    session = _session()
    endpoint = _endpoint(session)
    found = {
        **_keys(session),
        "AWS_REGION": region(),
        "timeout": f"{_REQUEST_SECONDS}s",
        "connect_timeout": f"{_CONNECT_SECONDS}s",
        "max_retries": str(_RETRIES),
        "retry_timeout": f"{_RETRY_SECONDS}s",
        **_encryption(),
    }
    if endpoint:
        found |= {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": str(endpoint.startswith("http://")).lower()}
    return found


def scan(handle: DeltaTable, within: str | None = None) -> pl.LazyFrame:
    """Rows of a Delta table at the version of its handle, lazily.

    Args:
        handle: The table.
        within: Predicate of its partition, in SQL: files of other partitions may be left out.
    """
    if within is not None and not is_s3(handle.table_uri) and not _has_deletions(handle):
        return _scan_files(handle, handle.file_uris(file_pruning_predicate=within))
    # Polars takes the handle's options, and wants other types and units for some of the same names.
    patience = {"max_retries": _RETRIES, "retry_timeout_ms": _RETRY_SECONDS * 1000}
    return pl.scan_delta(handle, storage_options=patience if is_s3(handle.table_uri) else None)


def _scan_files(handle: DeltaTable, paths: list[str]) -> pl.LazyFrame:
    """Rows of some files of a table. Polars plans with all files of a table, which takes longer than to read a few."""
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
    """Whether a program of others may have deleted rows without writing their files anew."""
    return "deletionVectors" in (handle.protocol().reader_features or ())


def files_at(location: str) -> "fs.PyFileSystem":
    """The files of a table as they lie, named from its location on; whatever its log says of them."""
    from deltalake.fs import DeltaStorageHandler
    from pyarrow import fs

    return fs.PyFileSystem(DeltaStorageHandler(location, options(location)))


def client(service: str) -> Any:
    """A client of another service of AWS, with the credentials and in the region that the lake is used with.

    Raises:
        LakeError: There are no credentials, or they cannot be used.
        StorageUnavailableError: Who gives the credentials does not answer.
    """
    from botocore.config import Config

    session = _session()
    # Says in our words what is wrong with them.
    _keys(session)
    patience = {"max_attempts": _RETRIES, "mode": "standard"}
    config = Config(connect_timeout=_CONNECT_SECONDS, read_timeout=_REQUEST_SECONDS, retries=patience)
    return session.create_client(service, region_name=region(), config=config)


def region() -> str:
    """The region that requests are signed for."""
    found = os.environ.get("AWS_REGION") or _session().get_config_variable("region")
    return str(found or "us-east-1")


def identity() -> str:
    """Whose credentials are in use, without any secret; for messages."""
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
def _session_of(names: tuple[tuple[str, str], ...], age: int) -> "Session":  # noqa: ARG001 (what it is remembered by)
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
        raise StorageUnavailableError(f"nobody answers who gives credentials for S3: {error}") from error
    except (BotoCoreError, ClientError, OSError) as error:
        raise LakeError(
            f"the credentials for S3 cannot be used: {error}. Expected a profile (AWS_PROFILE), keys "
            "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), or a role that may be assumed."
        ) from error
    if keys is None:
        raise LakeError(
            "found no credentials for S3; expected AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a "
            "role of this machine. Set them in the environment or in .env."
        )
    found = {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
    return {**found, "AWS_SESSION_TOKEN": keys.token} if keys.token else found


def _encryption() -> dict[str, str]:
    asked = settings()
    found = {
        "AWS_SERVER_SIDE_ENCRYPTION": asked.server_side_encryption,
        "AWS_SSE_KMS_KEY_ID": asked.sse_kms_key_id,
        "AWS_SSE_BUCKET_KEY_ENABLED": None if asked.sse_bucket_key is None else str(asked.sse_bucket_key).lower(),
    }
    return {name: value for name, value in found.items() if value is not None}
