"""A real S3 server (moto) in its own process, and a proxy in front of it that misbehaves on request."""

import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import urlsplit

import boto3

ACCESS_KEY = "AKIDTESTS"
SECRET = "s3cret-of-the-tests"

# Of several that put an object only where there is none, S3 lets one succeed, and Delta's log rests on that. Moto looks
# first and puts then, and another thread may come between the two.
_SERVE = """
import sys
from threading import Lock
from moto.s3.responses import S3Response
from moto.server import ThreadedMotoServer
one_at_a_time, put_object = Lock(), S3Response.put_object
def put_one_object(response):
    with one_at_a_time:
        return put_object(response)
S3Response.put_object = put_one_object
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@contextmanager
def s3_server() -> Iterator[str]:
    """Run moto's server until the end of the block, or of this process; provide its URL."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.terminate()


def environment(endpoint: str) -> dict[str, str]:
    """Return the environment by which the lake and boto3 use an endpoint."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }


def client(endpoint: str, service: str = "s3") -> Any:
    """Return a client of an endpoint, for any environment."""
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="eu-central-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET,
    )


def new_bucket(endpoint: str) -> str:
    """Create a bucket with a unique name; return its s3:// URL."""
    name = f"lake-{uuid.uuid4().hex[:12]}"
    client(endpoint).create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return f"s3://{name}"


Misdeed = Literal["answer", "hang", "drop", "lose the answer", "break off"]
_HANG_SECONDS = 30


@dataclass(frozen=True)
class Trouble:
    """The fate of the chosen requests.

    Attributes:
        misdeed: An answer of its own, silence, a closed connection, or one that closes after the request was served
            (before its answer, or halfway through it).
        status: Status of an answer.
        code: S3's code of an answer.
        message: S3's message of an answer.
    """

    misdeed: Misdeed = "answer"
    status: int = 503
    code: str = "SlowDown"
    message: str = "Please reduce your request rate."

    @property
    def body(self) -> bytes:
        """The answer as S3 gives it."""
        return f"<Error><Code>{self.code}</Code><Message>{self.message}</Message></Error>".encode()


@dataclass
class Proxy:
    """A proxy of an S3 server; requests that `chosen` accepts meet with `trouble`.

    Attributes:
        upstream: URL of the server.
        trouble: What happens to them.
        chosen: Of method and path with query, whether a request is one of them.
        met: Requests that met with trouble.
    """

    upstream: str
    trouble: Trouble = field(default_factory=Trouble)
    chosen: Callable[[str, str], bool] = lambda _method, _path: False
    met: list[str] = field(default_factory=list)
    url: str = ""

    def misbehave(self, trouble: Trouble, chosen: Callable[[str, str], bool]) -> None:
        """From now on."""
        self.trouble, self.chosen = trouble, chosen
        self.met.clear()

    def behave(self) -> None:
        """From now on."""
        self.chosen = lambda _method, _path: False


@contextmanager
def proxy(upstream: str) -> Iterator[Proxy]:
    """Run a proxy until the end of the block."""
    made = Proxy(upstream)
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": made})) as server:
        server.daemon_threads = True
        server.block_on_close = False
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield made
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        trouble = None
        if self.proxy.chosen(self.command, self.path):
            self.proxy.met.append(f"{self.command} {self.path}")
            trouble = self.proxy.trouble
        if trouble is None:
            self._answer(*self._upstream(body))
        elif trouble.misdeed == "answer":
            self._answer(trouble.status, {"Content-Type": "application/xml"}, trouble.body)
        elif trouble.misdeed == "hang":
            time.sleep(_HANG_SECONDS)
            self._hang_up()
        elif trouble.misdeed == "drop":
            self._hang_up()
        elif trouble.misdeed == "lose the answer":
            self._upstream(body)
            self._hang_up()
        else:
            self._answer(*self._upstream(body), part=0.5)
            self._hang_up()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def _upstream(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        connection = HTTPConnection(urlsplit(self.proxy.upstream).netloc, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers.items()))
        answer = connection.getresponse()
        data = answer.read()
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in _OF_A_CONNECTION}
        if self.command == "HEAD":
            headers["Content-Length"] = answer.getheader("Content-Length") or "0"
        connection.close()
        return answer.status, headers, data

    def _answer(self, status: int, headers: Mapping[str, str], data: bytes, part: float = 1) -> None:
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: int(len(data) * part)])

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)


_OF_A_CONNECTION = {"connection", "transfer-encoding", "content-length"}
