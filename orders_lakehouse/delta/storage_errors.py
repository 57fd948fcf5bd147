"""What a failure of the lake's storage means, in words: the one place that reads the messages of the libraries.

deltalake, Polars and object_store raise a dozen types for the same few things, and tell them apart by text alone.
Which file is damaged is found by `corruption.py`; failures of a cluster are `engines/spark_session.py`.
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
from orders_lakehouse.delta.corruption import look_at_data, look_at_log
from orders_lakehouse.delta.object_store import LakeError, StorageUnavailableError, path_of, table_at
from orders_lakehouse.errors import ExpectedError

log = logging.getLogger(__name__)

# Polars panics over a Parquet file that is shorter than the log says.
_FAILURES = (DeltaError, OSError, PolarsError, PanicException)

_LINE_OF_A_CHAIN = re.compile(r"\s*(?:\x1b\[\d*m)?↳(?:\x1b\[\d*m)?\s*")
_SCANNED = re.compile(r"Parquet SCAN \[([^,\]]+)")
_REQUEST = re.compile(r"Error performing ([A-Z]+) (\S+)")
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_CODE = re.compile(r"<Code>([^<]*)</Code>")
_TOLD = re.compile(r"<Message>([^<]*)</Message>")
_NETWORK = re.compile(r"HTTP error|error sending request|operation timed out")
_TLS = re.compile(r"InvalidContentType|invalid peer certificate|certificate verify failed")
_ERRNO = re.compile(r"\(os error (\d+)\)|Os \{ code: (\d+)")
_LOG = re.compile(r"Json error|No table metadata or protocol found|Kernel error")
_DATA = re.compile(r"(?i)parquet|snappy|requested range|range\.end|object at location|no such file")

_WRONG_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
_ELSEWHERE = {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"}
_FULL = {28: "is full", 122: "is beyond its quota", 27: "takes no file of this size (see ulimit -f)"}
_DENIED = {1, 13, 30}


@contextmanager
def storage_trouble(*places: str | pl.LazyFrame) -> Iterator[None]:
    """Say what went wrong with the storage of tables; what is not known raises as it is.

    Args:
        places: The tables at work: their locations, or plans that read them.

    Raises:
        LakeError: It does not pass by itself: a right or a bucket is missing, the disk is full, a file is damaged.
        StorageUnavailableError: It may pass: the storage is busy or cannot be reached.
        TableNotFoundError: There is no such table, which is no trouble.
    """
    try:
        yield
    except _FAILURES as error:
        meant = _meaning(error, places)
        if meant is None:
            raise
        raise meant from error


def _meaning(error: BaseException, places: Sequence[str | pl.LazyFrame]) -> ExpectedError | None:
    said = _LINE_OF_A_CHAIN.sub(": ", str(error)).strip()
    # A table that is not there has no damaged file to look for.
    known = (_of_s3, _of_disk) if isinstance(error, TableNotFoundError) else (_of_s3, _of_disk, _damaged)
    for meaning in known:
        found = meaning(said, lambda: _locations(places))
        if found is not None:
            return found
    return None


Locations = Callable[[], list[str]]


def _locations(places: Sequence[str | pl.LazyFrame]) -> list[str]:
    """Where the tables lie; a plan names the first file of each table that it reads."""
    found: list[str] = []
    for place in places:
        if isinstance(place, str):
            found.append(path_of(place))
        else:
            files = _SCANNED.findall(place.explain())
            found += [re.sub(r"(/[^/]+=[^/]*)*/[^/]+$", "", path_of(file)) for file in files]
    return list(dict.fromkeys(found))


def _root(location: str) -> str:
    return location.removesuffix("/" + table_at(location))


def _of_s3(said: str, locations: Locations) -> ExpectedError | None:
    if "S3 error" not in said and "Error performing" not in said:
        return None
    # Of the tables of a plan, the one whose object was asked for.
    asked = unquote(_first(_REQUEST, said, 2))
    tables = locations()
    location = next((place for place in tables if f"/{table_at(place)}/" in asked), next(iter(tables), "s3://"))
    lasting = _lasting(said, location)
    if lasting:
        return LakeError(lasting)
    passing = _passing(said, location)
    return StorageUnavailableError(passing) if passing else None


def _lasting(said: str, location: str) -> str | None:
    status, code, told = _first(_STATUS, said), _first(_CODE, said), _first(_TOLD, said)
    table, bucket = table_at(location), object_store.bucket_of(location)
    if code in _WRONG_KEYS:
        return f"S3 does not accept the credentials ({code}): {object_store.identity()}. Expected a valid key."
    if code == "RequestTimeTooSkewed":
        return "S3 refuses requests because the clock of this machine is wrong; set it, then run again"
    if code in _ELSEWHERE or status == "301" or "Received redirect without LOCATION" in said:
        return (
            f"bucket {bucket} is not in region {object_store.region()} ({told or 'S3 points to another one'}). Set "
            "AWS_REGION to the region of the bucket."
        )
    if code == "NoSuchBucket":
        return f"there is no bucket {bucket}; expected the one that LAKE_URL names. Create it, or correct LAKE_URL."
    if status == "403" and code not in _EXPIRED:
        return _refusal(said, location)
    if code.startswith("KMS."):
        return f"KMS refuses to encrypt or decrypt {table} in bucket {bucket}: {code} {told}".rstrip()
    if _TLS.search(said):
        return (
            f"no encrypted connection to the storage of {table}: {_end(said)}. Expected a valid certificate; an "
            "endpoint that has none is named with http:// in AWS_ENDPOINT_URL."
        )
    return None


def _passing(said: str, location: str) -> str | None:
    status, code, told = _first(_STATUS, said), _first(_CODE, said), _first(_TOLD, said)
    table, bucket = table_at(location), object_store.bucket_of(location)
    if code in _EXPIRED:
        return (
            f"the credentials for S3 have expired: {object_store.identity()}. Those of a role are renewed by the next "
            "try; others are for you to renew."
        )
    if status.startswith("5") or status == "429" or code == "RequestTimeout":
        return f"S3 does not serve {table} in bucket {bucket} at the moment: {status} {code} {told}".rstrip()
    if _NETWORK.search(said):
        return f"the connection to the storage of {table} ({_host(said) or bucket}) failed: {_end(said)}"
    return None


def _refusal(said: str, location: str) -> str:
    verb, url = _first(_REQUEST, said), _first(_REQUEST, said, 2)
    bucket, prefix = object_store.bucket_of(location), urlsplit(_root(location)).path.strip("/")
    objects = f"arn:aws:s3:::{bucket}/{prefix}/*" if prefix else f"arn:aws:s3:::{bucket}/*"
    if "list-type=2" in url:
        action, lacking = "list", f"s3:ListBucket on arn:aws:s3:::{bucket}"
    elif verb in ("PUT", "POST"):
        action, lacking = "write", f"s3:PutObject on {objects}"
    elif verb == "DELETE":
        action, lacking = "delete", f"s3:DeleteObject on {objects}"
    else:
        # Whoever may not list is told 403 of an object that is not there, too.
        action, lacking = "read", f"s3:GetObject on {objects}, or s3:ListBucket on arn:aws:s3:::{bucket}"
    key = unquote(urlsplit(url).path).lstrip("/").removeprefix(f"{bucket}/")
    told = f" ({_first(_TOLD, said)})" if _TOLD.search(said) else ""
    return (
        f"S3 does not let {object_store.identity()} {action} {table_at(location)} in bucket {bucket}, prefix "
        f"{prefix or '/'}: 403 {_first(_CODE, said)}{told} for {verb} {key}. What is missing is probably {lacking}; "
        "with a KMS key, kms:GenerateDataKey and kms:Decrypt, too. docs/s3.md has the policy that is needed."
    )


def _of_disk(said: str, locations: Locations) -> ExpectedError | None:
    found = _ERRNO.search(said)
    number = int(found.group(1) or found.group(2)) if found else 0
    if number not in _FULL and number not in _DENIED:
        return None
    location = next(iter(locations()), "")
    if number in _FULL:
        return LakeError(
            f"{_root(location)} {_FULL[number]}: no room to write {table_at(location)} ({_room(location)}). Nothing of "
            "the commit stands; make room, then run the same dates again."
        )
    return LakeError(
        f"{location} cannot be used by user {os.geteuid()}: {os.strerror(number)} ({_end(said)}). Expected a directory "
        "that this user may read and write; change its owner or its mode, or set LAKE_URL."
    )


def _room(location: str) -> str:
    there = next(parent for parent in (Path(location), *Path(location).parents) if parent.exists())
    usage = shutil.disk_usage(there)
    return f"{usage.free / 2**20:,.1f} MiB free of {usage.total / 2**20:,.1f}"


def _damaged(said: str, locations: Locations) -> ExpectedError | None:
    """The file that is damaged or missing, found by looking at all of them: no library says which one."""
    look = look_at_log if _LOG.search(said) else look_at_data if _DATA.search(said) else None
    if look is None:
        return None
    try:
        found = next(filter(None, map(look, locations())), None)
    except _FAILURES as error:
        log.warning("no table could be searched for the damaged file: %s", error)
        return None
    return LakeError(found) if found else None


def _first(pattern: re.Pattern[str], said: str, group: int = 1) -> str:
    found = pattern.search(said)
    return found.group(group) if found else ""


def _host(said: str) -> str:
    return urlsplit(_first(_REQUEST, said, 2)).netloc


def _end(said: str) -> str:
    """The innermost cause, which stands last."""
    return said.splitlines()[-1].split(": ", 1)[-1][-300:].strip(" .")
