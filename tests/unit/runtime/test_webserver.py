"""The UI answers requests that name this machine, asked over real connections."""

import http.client
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from orders_lakehouse.runtime.webserver import KnownHosts


async def application(scope, receive, send):  # type: ignore[no-untyped-def]
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"runs"})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(KnownHosts(application, ["ui.example"]), log_level="critical", lifespan="off")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(timeout=10)
    listener.close()


def ask(port: int, *headers: tuple[str, str]) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest("GET", "/", skip_host=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    return connection.getresponse().status


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:3000", "127.0.0.1:3000", "[::1]:3000", "[::1]", "UI.example:80"]
)
def test_known_name_is_answered(port: int, host: str) -> None:
    assert ask(port, ("Host", host)) == 200
    assert ask(port, ("Host", host), ("Origin", f"http://{host}")) == 200


@pytest.mark.parametrize(
    "host",
    [
        "shop.example",
        "localhost.shop.example:3000",
        "127.0.0.1.shop.example",
        "localhost@shop.example",
        "shop.example@localhost",
        "192.168.0.1",
        "[::2]",
        "[::1",
        "localhost:port",
        "",
    ],
)
def test_another_name_is_refused(port: int, host: str) -> None:
    assert ask(port, ("Host", host)) == 400
    assert ask(port, ("Host", "localhost"), ("Origin", f"http://{host}")) == 400


def test_request_without_host_or_with_null_origin_is_refused(port: int) -> None:
    assert ask(port) == 400
    assert ask(port, ("Host", "localhost"), ("Origin", "null")) == 400
    assert ask(port, ("Host", "localhost"), ("Host", "shop.example")) == 400


def test_websocket_is_judged_like_a_request(port: int) -> None:
    connect(f"ws://127.0.0.1:{port}/graphql", origin="http://ui.example").close()  # type: ignore[arg-type]
    with pytest.raises(InvalidStatus):
        connect(f"ws://127.0.0.1:{port}/graphql", origin="http://shop.example")  # type: ignore[arg-type]
