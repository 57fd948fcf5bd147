"""Explain failures of the lake's storage. Only this module reads the error texts of deltalake, Polars and object_store.

These libraries raise a dozen types for the same few failures, and only the text tells them apart. `corruption.py` finds
a damaged file; `engines/spark_session.py` explains failures of a cluster.
"""

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import polars as pl
from deltalake.exceptions import DeltaError, TableNotFoundError
from polars.exceptions import PanicException, PolarsError

from orders_lakehouse.delta import object_store
from orders_lakehouse.delta.corruption import find_data_damage, find_log_damage
from orders_lakehouse.delta.object_store import LakeError, StorageUnavailableError, path_of, table_at
from orders_lakehouse.errors import ExpectedError

log = logging.getLogger(__name__)

# Exceptions of the libraries. Polars panics on a Parquet file that is shorter than the log says.
_FAILURES = (DeltaError, OSError, PolarsError, PanicException)

_LINE_OF_A_CHAIN = re.compile(r"\s*(?:\x1b\[\d*m)?↳(?:\x1b\[\d*m)?\s*")
_SCANNED = re.compile(r"Parquet SCAN \[([^,\]]+)")
_REQUEST = re.compile(r"Error performing ([A-Z]+) (\S+)")
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_NETWORK = re.compile(r"HTTP error|error sending request|operation timed out")
_TLS = re.compile(r"InvalidContentType|invalid peer certificate|certificate verify failed")
_ERRNO = re.compile(r"\(os error (\d+)\)|Os \{ code: (\d+)")
_LOG = re.compile(r"Json error|No table metadata or protocol found|Kernel error")
_DATA = re.compile(r"(?i)parquet|snappy|requested range|range\.end|object at location|no such file")

_WRONG_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
_ELSEWHERE = {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"}
_FULL = {28: "is full", 122: "is beyond its quota", 27: "accepts no file of this size (see ulimit -f)"}
_DENIED = {1, 13, 30}


@contextmanager
def explain_storage_errors(*places: str | pl.LazyFrame) -> Iterator[None]:
    """Raise failures of the storage as errors of this package; unknown failures pass unchanged.

    Args:
        places: The tables in use: their locations, or plans that read them.

    Raises:
        LakeError: The failure lasts: a right or a bucket is missing, the disk is full, a file is damaged.
        StorageUnavailableError: The failure may pass: the storage is busy or cannot be reached.
        TableNotFoundError: The table does not exist; it passes unchanged, because callers expect it.
    """
    try:
        yield
    except _FAILURES as error:
        explained = _explanation(error, places)
        if explained is None:
            raise
        raise explained from error


def _explanation(error: BaseException, places: Sequence[str | pl.LazyFrame]) -> ExpectedError | None:
    text = _LINE_OF_A_CHAIN.sub(": ", str(error)).strip()
    # A missing table has no damaged file to search for.
    explainers = (_of_s3, _of_disk) if isinstance(error, TableNotFoundError) else (_of_s3, _of_disk, _damaged)
    for explain in explainers:
        explained = explain(text, lambda: _locations(places))
        if explained is not None:
            return explained
    return None


Locations = Callable[[], list[str]]


def _locations(places: Sequence[str | pl.LazyFrame]) -> list[str]:
    """Return the locations of the tables; a plan names the first file of each table that it reads."""
    locations: list[str] = []
    for place in places:
        if isinstance(place, str):
            locations.append(path_of(place))
        else:
            files = _SCANNED.findall(place.explain())
            locations += [re.sub(r"(/[^/]+=[^/]*)*/[^/]+$", "", path_of(file)) for file in files]
    return list(dict.fromkeys(locations))


def _root(location: str) -> str:
    return location.removesuffix("/" + table_at(location))


def _of_s3(text: str, locations: Locations) -> ExpectedError | None:
    if "S3 error" not in text and "Error performing" not in text:
        return None
    # A plan may read several tables; the requested URL says which one failed.
    requested = unquote(_first(_REQUEST, text, 2))
    tables = locations()
    location = next((place for place in tables if f"/{table_at(place)}/" in requested), next(iter(tables), "s3://"))
    lasting = _lasting(text, location)
    if lasting:
        return LakeError(lasting)
    passing = _passing(text, location)
    return StorageUnavailableError(passing) if passing else None


def _lasting(text: str, location: str) -> str | None:
    status, code, message = _first(_STATUS, text), _first(_CODE, text), _first(_MESSAGE, text)
    table, bucket = table_at(location), object_store.bucket_of(location)
    if code in _WRONG_KEYS:
        return f"S3 does not accept the credentials ({code}): {object_store.identity()}. Expected a valid key."
    if code == "RequestTimeTooSkewed":
        return "S3 refuses requests because the clock of this machine is wrong; set it, then run again"
    if code in _ELSEWHERE or status == "301" or "Received redirect without LOCATION" in text:
        return (
            f"bucket {bucket} is not in region {object_store.region()} ({message or 'S3 points to another one'}). Set "
            "AWS_REGION to the region of the bucket."
        )
    if code == "NoSuchBucket":
        return f"there is no bucket {bucket}; expected the one that LAKE_URL names. Create it, or correct LAKE_URL."
    if status == "403" and code not in _EXPIRED:
        return _refusal(text, location)
    if code.startswith("KMS."):
        return f"KMS refuses to encrypt or decrypt {table} in bucket {bucket}: {code} {message}".rstrip()
    if _TLS.search(text):
        return (
            f"no encrypted connection to the storage of {table}: {_end(text)}. Expected a valid certificate; for an "
            "endpoint without encryption, set AWS_ENDPOINT_URL with http://."
        )
    return None


def _passing(text: str, location: str) -> str | None:
    status, code, message = _first(_STATUS, text), _first(_CODE, text), _first(_MESSAGE, text)
    table, bucket = table_at(location), object_store.bucket_of(location)
    if code in _EXPIRED:
        return (
            f"the credentials for S3 have expired: {object_store.identity()}. The next try renews those of a role; "
            "renew others yourself."
        )
    if status.startswith("5") or status == "429" or code == "RequestTimeout":
        return f"S3 is unavailable for {table} in bucket {bucket} at the moment: {status} {code} {message}".rstrip()
    if _NETWORK.search(text):
        return f"the connection to the storage of {table} ({_host(text) or bucket}) failed: {_end(text)}"
    return None


def _refusal(text: str, location: str) -> str:
    verb, url = _first(_REQUEST, text), _first(_REQUEST, text, 2)
    bucket, prefix = object_store.bucket_of(location), urlsplit(_root(location)).path.strip("/")
    objects = f"arn:aws:s3:::{bucket}/{prefix}/*" if prefix else f"arn:aws:s3:::{bucket}/*"
    if "list-type=2" in url:
        action, lacking = "list", f"s3:ListBucket on arn:aws:s3:::{bucket}"
    elif verb in ("PUT", "POST"):
        action, lacking = "write", f"s3:PutObject on {objects}"
    elif verb == "DELETE":
        action, lacking = "delete", f"s3:DeleteObject on {objects}"
    else:
        # S3 also answers 403 for a missing object if the caller may not list the bucket.
        action, lacking = "read", f"s3:GetObject on {objects}, or s3:ListBucket on arn:aws:s3:::{bucket}"
    key = unquote(urlsplit(url).path).lstrip("/").removeprefix(f"{bucket}/")
    message = f" ({_first(_MESSAGE, text)})" if _MESSAGE.search(text) else ""
    return (
        f"S3 does not let {object_store.identity()} {action} {table_at(location)} in bucket {bucket}, prefix "
        f"{prefix or '/'}: 403 {_first(_CODE, text)}{message} for {verb} {key}. The missing right is probably "
        f"{lacking}; with a KMS key, kms:GenerateDataKey and kms:Decrypt, too. docs/s3.md has the complete policy."
    )


def _of_disk(text: str, locations: Locations) -> ExpectedError | None:
    match = _ERRNO.search(text)
    number = int(match.group(1) or match.group(2)) if match else 0
    if number not in _FULL and number not in _DENIED:
        return None
    location = next(iter(locations()), "")
    if number in _FULL:
        return LakeError(
            f"{_root(location)} {_FULL[number]}: no room to write {table_at(location)} ({_room(location)}). Nothing "
            "was committed; make room, then run the same dates again."
        )
    return LakeError(
        f"{location} cannot be used by user {os.geteuid()}: {os.strerror(number)} ({_end(text)}). Expected a directory "
        "that this user may read and write; change its owner or its mode, or set LAKE_URL."
    )


def _room(location: str) -> str:
    existing = next(parent for parent in (Path(location), *Path(location).parents) if parent.exists())
    usage = shutil.disk_usage(existing)
    return f"{usage.free / 2**20:,.1f} MiB free of {usage.total / 2**20:,.1f}"


def _damaged(text: str, locations: Locations) -> ExpectedError | None:
    """Search the tables for a damaged or missing file, because no library names it."""
    look = find_log_damage if _LOG.search(text) else find_data_damage if _DATA.search(text) else None
    if look is None:
        return None
    try:
        damage = next(filter(None, map(look, locations())), None)
    except _FAILURES as error:
        log.warning("no table could be searched for the damaged file: %s", error)
        return None
    return LakeError(damage) if damage else None


def _first(pattern: re.Pattern[str], text: str, group: int = 1) -> str:
    match = pattern.search(text)
    return match.group(group) if match else ""


def _host(text: str) -> str:
    return urlsplit(_first(_REQUEST, text, 2)).netloc


def _end(text: str) -> str:
    """Return the innermost cause, which comes last."""
    return text.splitlines()[-1].split(": ", 1)[-1][-300:].strip(" .")
