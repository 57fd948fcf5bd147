"""A session of Spark Connect whose client gives up soon on a server that is gone."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def connect(remote: str, retries: int, most_wait_ms: int) -> "SparkSession":
    """Make a session; by default its client waits ten minutes for a server that is gone.

    Args:
        remote: URL of an endpoint of Spark Connect.
        retries: How often a request is tried again.
        most_wait_ms: Longest wait between two tries, in milliseconds.
    """
    import pyspark
    from pyspark.sql import SparkSession

    # A process whose main module is no file is taken for a doctest of the client, which looks for a whole Spark.
    os.environ.setdefault("SPARK_HOME", os.path.dirname(pyspark.__file__))
    from pyspark.sql.connect.client.retries import DefaultPolicy

    made = SparkSession.builder.remote(remote).create()
    made.client.set_retry_policies([DefaultPolicy(max_retries=retries, max_backoff=most_wait_ms)])
    return made
