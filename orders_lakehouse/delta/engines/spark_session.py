"""The session at a Spark Connect endpoint, and explanations of its failures. Nothing is computed here.

The client and the servers raise a few types for all failures, and only the text tells them apart.
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

# Retries of a request, some fifteen seconds in all; and the longest wait between two, in milliseconds.
_RETRIES, _MOST_WAIT_MS = 6, 5_000
# Name of the setting for the time zone of instants in a session.
_TIMEZONE = "spark.sql.session.timeZone"
_CONFIGURATION = {
    _TIMEZONE: "UTC",
    # Instants are written as 64 bits, because only these have statistics.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}
# Sessions by endpoint.
_sessions: dict[str, "SparkSession"] = {}
# Lock while a session is made, so that concurrent steps share it.
_making = Lock()
# Session with which a job was started, if any.
_job_session: list["SparkSession"] = []
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
    """The cluster cannot do the work; trying again does not help."""


class ClusterUnavailableError(TransientError):
    """The cluster is unavailable at the moment; trying again may help."""


def session() -> "SparkSession":
    """Return the session of this process at the endpoint of the settings.

    Raises:
        ClusterError: The client is not installed, or the endpoint is not one of Spark Connect.
        ClusterUnavailableError: The endpoint does not answer.
    """
    if _job_session:
        return _job_session[0]
    remote = settings().spark_remote or ""
    with _making:
        if remote not in _sessions:
            _sessions[remote] = _connect(remote)
        return _sessions[remote]


def forget() -> None:
    """Close the session, so that the next caller makes another; an open session would delay the end of the process."""
    while _sessions:
        _sessions.popitem()[1].client.close()


def use(own: "SparkSession") -> None:
    """Compute in the session with which this process was started as a job; no setting is needed."""
    with explain_cluster_errors():
        for name, value in _CONFIGURATION.items():
            own.conf.set(name, value)
    _job_session[:] = [own]


def _connect(remote: str) -> "SparkSession":
    with explain_cluster_errors():
        connected = spark_connect.connect(remote, _RETRIES, _MOST_WAIT_MS)
        try:
            for name, value in _CONFIGURATION.items():
                connected.conf.set(name, value)
        except BaseException:
            connected.client.close()
            raise
        return connected


def require_session() -> None:
    """Refuse results of a restarted server, because it has lost the session's configuration."""
    with explain_cluster_errors():
        timezone = session().conf.get(_TIMEZONE, None)
    if timezone != _CONFIGURATION[_TIMEZONE]:
        raise _lost(f"its time zone is {timezone}, expected {_CONFIGURATION[_TIMEZONE]}")


@contextmanager
def explain_cluster_errors() -> Iterator[None]:
    """Raise failures of the cluster as errors of this package; unknown failures pass unchanged.

    Raises:
        ClusterError: The failure lasts: no client here, no Delta there, or an unsupported operation.
        ClusterUnavailableError: The failure may pass: the endpoint does not answer, or the session was lost.
    """
    failures = _failures()
    try:
        yield
    except failures as error:
        explained = _explanation(str(error))
        if explained is None:
            raise
        raise explained from error


def _failures() -> tuple[type[Exception], ...]:
    """Return the exceptions of the client."""
    try:
        from pyspark.errors import PySparkException
    except ImportError as error:
        raise ClusterError(
            f"the client of Spark is not installed ({error}); expected the extra `spark`: "
            "pip install 'orders-lakehouse[spark]'"
        ) from error
    try:
        from grpc import RpcError
    except ImportError:
        # A job's session works without Connect, so gRPC may be missing.
        return (PySparkException,)
    return RpcError, PySparkException


def _explanation(text: str) -> ExpectedError | None:
    endpoint, brief = settings().spark_endpoint, text.strip().partition("\n")[0][:300]
    if _LOST.search(text):
        return _lost(brief)
    if _NO_ENDPOINT.search(text):
        forget()
        return ClusterUnavailableError(
            f"no server answers at {endpoint}; expected a Spark Connect endpoint ({brief}). Is it running, and does "
            "SPARK_REMOTE name it?"
        )
    if _BUSY.search(text):
        return ClusterUnavailableError(f"the storage does not answer the cluster at {endpoint} ({brief}).")
    if _NO_STORAGE.search(text):
        return ClusterError(
            f"the cluster at {endpoint} cannot use the storage of the lake ({brief}); expected credentials of its own "
            "there (AWS_... where it was started): see docs/scale.md. Nothing was committed."
        )
    if _NO_DELTA.search(text):
        return ClusterError(
            f"the cluster at {endpoint} cannot read Delta tables ({brief}); expected one with Delta Lake: see "
            "docs/scale.md for how to start it. Nothing was written."
        )
    if _UNSUPPORTED.search(text):
        return ClusterError(
            f"the cluster at {endpoint} does not support an operation ({brief}). Nothing was committed; "
            "LAKEHOUSE_ENGINE=polars derives the same dates on one machine."
        )
    return None


def _lost(why: str) -> ClusterUnavailableError:
    forget()
    return ClusterUnavailableError(
        f"the session at {settings().spark_endpoint} was lost ({why}); nothing was committed."
    )
