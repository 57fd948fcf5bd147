"""The session at a Spark Connect endpoint, and what a failure there means, in words. Nothing is computed here.

The client and the servers raise a few types for everything, and tell what went wrong by text alone.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING

from orders_lakehouse.errors import ExpectedError, TransientError
from orders_lakehouse.runtime import spark_connect
from orders_lakehouse.settings import settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Retries of a request, which take some fifteen seconds; and the longest wait between two.
_RETRIES, _MOST_WAIT_MS = 6, 5_000
# Setting of the time zone in which a session sees instants, which have none of their own there.
_TIMEZONE = "spark.sql.session.timeZone"
_CONFIGURATION = {
    _TIMEZONE: "UTC",
    # Instants of 64 bits, with statistics.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}
# Sessions by endpoint, and that of a job below.
_made: dict[str, "SparkSession"] = {}
# Held while a session is made: steps that work at once share it.
_making = Lock()
_own: list["SparkSession"] = []
_NO_ENDPOINT = re.compile(
    r"StatusCode\.UNAVAILABLE|failed to connect|DNS resolution failed|StatusCode\.DEADLINE_EXCEEDED"
)
_BUSY = re.compile(r"status code: 5\d\d|SlowDown|error sending request")
_NO_STORAGE = re.compile(
    r"S3 error|URL scheme is not allowed|No FileSystem for scheme|AccessDenied|CredentialsProvider", re.I
)
_LOST = re.compile(r"SESSION_NOT_FOUND|SESSION_CLOSED|SESSION_CHANGED|INVALID_HANDLE|session .*not found", re.I)
_NO_DELTA = re.compile(r"DATA_SOURCE_NOT_FOUND|No data source found|Failed to find.*data source", re.I)
_UNSUPPORTED = re.compile(r"UNSUPPORTED|NOT_IMPLEMENTED|not implemented|not supported|unsupported", re.I)


class ClusterError(ExpectedError):
    """The cluster cannot do what is asked; trying again does not help."""


class ClusterUnavailableError(TransientError):
    """The cluster does not answer at the moment; trying again may help."""


def session() -> "SparkSession":
    """The session of this process at the endpoint of the settings.

    Raises:
        ClusterError: The client is not installed, or the endpoint is none of Spark Connect.
        ClusterUnavailableError: Nobody answers there.
    """
    if _own:
        return _own[0]
    remote = settings().spark_remote or ""
    with _making:
        if remote not in _made:
            _made[remote] = _connect(remote)
        return _made[remote]


def forget() -> None:
    """Let go of the session; whoever asks next makes another. One that is left open waits for its server at the end."""
    while _made:
        _made.popitem()[1].client.close()


def use(own: "SparkSession") -> None:
    """Compute in a session that this process has been started with, as a job has; none of the settings is needed."""
    with cluster_trouble():
        for name, value in _CONFIGURATION.items():
            own.conf.set(name, value)
    _own[:] = [own]


def _connect(remote: str) -> "SparkSession":
    with cluster_trouble():
        made = spark_connect.connect(remote, _RETRIES, _MOST_WAIT_MS)
        try:
            for name, value in _CONFIGURATION.items():
                made.conf.set(name, value)
        except BaseException:
            made.client.close()
            raise
        return made


def require_session() -> None:
    """Refuse what a server has computed that was started anew, and knows nothing of the session's configuration."""
    with cluster_trouble():
        found = session().conf.get(_TIMEZONE, None)
    if found != _CONFIGURATION[_TIMEZONE]:
        raise _lost(f"its time zone is {found}, expected {_CONFIGURATION[_TIMEZONE]}")


@contextmanager
def cluster_trouble() -> Iterator[None]:
    """Say what went wrong on the cluster; what is not known raises as it is.

    Raises:
        ClusterError: It does not pass by itself: no client here, no Delta there, or an operation that it does not know.
        ClusterUnavailableError: It may pass: nobody answers, or the session was lost.
    """
    failures = _failures()
    try:
        yield
    except failures as error:
        meant = _meaning(str(error))
        if meant is None:
            raise
        raise meant from error


def _failures() -> tuple[type[Exception], ...]:
    """What the client raises."""
    try:
        from pyspark.errors import PySparkException
    except ImportError as error:
        raise ClusterError(
            f"the client of Spark is not installed ({error}); expected the extra of this name: "
            "pip install 'orders-lakehouse[spark]'"
        ) from error
    try:
        from grpc import RpcError
    except ImportError:
        # A job's session needs no Connect.
        return (PySparkException,)
    return RpcError, PySparkException


def _meaning(said: str) -> ExpectedError | None:
    endpoint, brief = settings().spark_endpoint, said.strip().partition("\n")[0][:300]
    if _LOST.search(said):
        return _lost(brief)
    if _NO_ENDPOINT.search(said):
        forget()
        return ClusterUnavailableError(
            f"nobody answers at {endpoint}, expected a Spark Connect endpoint there ({brief}). Is it running, and does "
            "SPARK_REMOTE name it?"
        )
    if _BUSY.search(said):
        return ClusterUnavailableError(f"the storage does not answer the cluster at {endpoint} ({brief}).")
    if _NO_STORAGE.search(said):
        return ClusterError(
            f"the cluster at {endpoint} cannot use the storage of the lake ({brief}); expected credentials of its own "
            "there (AWS_... where it was started): see docs/scale.md. Nothing was committed."
        )
    if _NO_DELTA.search(said):
        return ClusterError(
            f"the cluster at {endpoint} cannot read Delta tables ({brief}); expected one with Delta Lake: see "
            "docs/scale.md for how to start it. Nothing was written."
        )
    if _UNSUPPORTED.search(said):
        return ClusterError(
            f"the cluster at {endpoint} does not support what is asked ({brief}). Nothing was committed; "
            "LAKEHOUSE_ENGINE=polars derives the same dates on one machine."
        )
    return None


def _lost(why: str) -> ClusterUnavailableError:
    forget()
    return ClusterUnavailableError(
        f"the session at {settings().spark_endpoint} was lost ({why}); nothing was committed."
    )
