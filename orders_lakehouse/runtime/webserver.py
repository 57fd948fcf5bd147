"""Dagster's UI, which answers only requests that name this machine.

A page of another site can let its own name resolve to 127.0.0.1, and then read and start runs as if it were the UI (DNS
rebinding). `python -m orders_lakehouse.runtime.webserver dev ...` is `dg dev ...` with a webserver that answers 400 to
an unknown Host or Origin.
"""

import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from orders_lakehouse.settings import settings

_LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))
_REFUSAL = b"This name is not one of the UI's. Call it http://localhost, or add the name to LAKEHOUSE_UI_HOSTS.\n"

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]


class KnownHosts:
    """An ASGI application that passes on requests to a known name, and refuses all others."""

    def __init__(self, app: _App, names: Iterable[str] = ()) -> None:
        self._app = app
        self._names = _LOCAL | {name.lower() for name in names}

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Answer a request or open a websocket; other events have no host and pass."""
        if scope["type"] not in ("http", "websocket") or self._knows(scope["headers"]):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(_REFUSAL))]
            await send({"type": "http.response.start", "status": 400, "headers": headers})
            await send({"type": "http.response.body", "body": _REFUSAL})

    def _knows(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        origins = [value.decode("latin-1") for name, value in headers if name == b"origin"]
        # A browser sends the origin of the page. `null` is refused, because any site can make a page without an origin.
        urls = [*(f"//{host}" for host in hosts), *origins]
        return len(hosts) == 1 and all(_name_in(url) in self._names for url in urls)


def _name_in(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return None if "@" in parts.netloc else parts.hostname


def serve() -> None:
    """Run Dagster's webserver with the arguments of this process."""
    cli: Any = import_module("dagster_webserver.cli")
    make = cli.create_app_from_workspace_process_context
    cli.create_app_from_workspace_process_context = lambda *arguments, **options: KnownHosts(
        make(*arguments, **options), settings().ui_host_names
    )
    cli.main()


def develop() -> None:
    """Run `dg` with the arguments of this process, and let it start the webserver of this module."""
    # The function is replaced, because Dagster has no setting for the program of its webserver.
    dev: Any = import_module("dagster._cli.dev")
    start = dev.open_ipc_subprocess

    def start_ours(command: list[str], **options: Any) -> Any:
        module = [sys.executable, "-m", "dagster_webserver"]
        ours = [sys.executable, "-m", "orders_lakehouse.runtime.webserver", "serve"]
        return start([*ours, *command[len(module) :]] if command[: len(module)] == module else command, **options)

    dev.open_ipc_subprocess = start_ours
    import_module("dagster_dg_cli.cli").main()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        del sys.argv[1]
        serve()
    else:
        develop()
