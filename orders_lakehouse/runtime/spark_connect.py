"""A session of Spark Connect whose client gives up early when its server is gone."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def connect(remote: str, retries: int, most_wait_ms: int) -> "SparkSession":
    """Make a session with fewer retries; by default its client waits ten minutes for a server that is gone.

    Args:
        remote: URL of an endpoint of Spark Connect.
        retries: Number of retries of a request.
        most_wait_ms: Longest wait between two tries, in milliseconds.
    """
    import pyspark
    from pyspark.sql import SparkSession

    # The client mistakes a process whose main module has no file for its own doctest, and then searches for a full
    # Spark, unless SPARK_HOME is set.
    os.environ.setdefault("SPARK_HOME", os.path.dirname(pyspark.__file__))
    from pyspark.sql.connect.client.retries import DefaultPolicy

    session = SparkSession.builder.remote(remote).create()
    session.client.set_retry_policies([DefaultPolicy(max_retries=retries, max_backoff=most_wait_ms)])
    return session
