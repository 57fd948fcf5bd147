"""A real server of Spark Connect for tests (Sail), in a process of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_SAIL = str(Path(sys.executable).with_name("sail"))


@contextmanager
def spark_server(environment: Mapping[str, str] | None = None, port: int = 0) -> Iterator[str]:
    """Run a server until the end of the block; provide its URL.

    Args:
        environment: What the server is to know beside this process's environment, as how to reach S3.
        port: Where it listens; 0 for a free port.
    """
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    with subprocess.Popen(
        [_SAIL, "spark", "server", "--ip", "127.0.0.1", "--port", str(port)],
        env={**os.environ, "AWS_EC2_METADATA_DISABLED": "true", "RUST_LOG": "error", **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            until = time.monotonic() + 60
            while not _listens(port):
                assert process.poll() is None, f"the server ended with status {process.returncode}"
                assert time.monotonic() < until, "the server does not listen"
                time.sleep(0.1)
            yield f"sc://127.0.0.1:{port}"
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
