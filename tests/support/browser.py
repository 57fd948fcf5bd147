"""A headless Chromium, controlled by its debugging protocol: pages, their text, clicks and pictures."""

import base64
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

WIDTH = 1400
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
# Seconds to wait for a page, and between two looks at it.
_PATIENCE, _PAUSE = 60.0, 0.25
# The last visible element whose own text is the given one, then the last that has it among its text.
_FIND = """
(text => {
  const seen = e => e.getClientRects().length > 0;
  const all = [...document.querySelectorAll('button, a, [role=button], [role=tab], [role=menuitem], label, span, div')]
    .filter(seen);
  return all.findLast(e => e.innerText?.trim() === text) ?? all.findLast(e => e.innerText?.includes(text));
})
"""


class BrowserError(Exception):
    """The browser or a page did not do what was asked."""


def executable() -> str | None:
    """Return the path of Chromium; None where it is not installed."""
    return next((path for path in map(shutil.which, _NAMES) if path), None)


def wait_for(ready: Callable[[], Any], problem: Callable[[], str], seconds: float = _PATIENCE) -> None:
    """Wait until a function returns something true.

    Raises:
        BrowserError: It did not in time; the message is the problem.
    """
    until = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > until:
            raise BrowserError(f"waited {seconds:.0f} s: {problem()}")
        time.sleep(_PAUSE)


class Browser:
    """A tab of Chromium."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._sent, self._session = connection, 0, None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.resize(900)

    def _call(self, method: str, **parameters: Any) -> Any:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        self._connection.send(json.dumps({**message, **({"sessionId": self._session} if self._session else {})}))
        while (answer := json.loads(self._connection.recv(timeout=_PATIENCE))).get("id") != self._sent:
            pass
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        return answer["result"]

    def resize(self, height: int) -> None:
        """Give the page a height in pixels."""
        self._call("Emulation.setDeviceMetricsOverride", width=WIDTH, height=height, deviceScaleFactor=1, mobile=False)

    def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression on the page."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression[:200]}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def open(self, url: str, *texts: str, seconds: float = _PATIENCE) -> str:
        """Open a page, wait until it shows some texts, and return its text."""
        self._call("Page.navigate", url=url)
        return self.wait(*texts, seconds=seconds)

    def text(self) -> str:
        """Return the text of the page."""
        return self.value("document.body?.innerText") or ""

    def wait(self, *texts: str, without: str = "", seconds: float = _PATIENCE) -> str:
        """Wait until the page shows some texts, and return its text.

        Raises:
            BrowserError: It does not in time; the message has the text of the page.
        """

        def missing() -> list[str]:
            shown = self.text()
            return [text for text in texts if text not in shown] + ([f"no {without}"] * (without != "" in shown))

        def is_ready() -> bool:
            shown = self.text()
            return all(text in shown for text in texts) and (not without or without not in shown)

        wait_for(is_ready, lambda: f"expected {missing()}; the page shows:\n{self.text()}", seconds)
        return self.text()

    def click(self, text: str) -> None:
        """Click the element with a text, as soon as the page has it."""
        self._press(f"{_FIND}({json.dumps(text)})", f"nothing to click with the text {text!r}")

    def click_on(self, selector: str) -> None:
        """Click the first visible element that a CSS selector finds, as soon as the page has it."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})].find(e => e.getClientRects().length)"
        self._press(found, f"nothing to click at {selector!r}")

    def _press(self, element: str, problem: str) -> None:
        place = f"""
        (() => {{
          const element = {element};
          if (!element) return null;
          element.scrollIntoView({{block: 'center'}});
          const box = element.getBoundingClientRect();
          return [box.x + box.width / 2, box.y + box.height / 2];
        }})()
        """
        before = None

        def stands_still() -> bool:
            nonlocal before
            earlier, before = before, self.value(place)
            return before is not None and before == earlier

        # A dialog moves while it opens.
        wait_for(stands_still, lambda: f"{problem}; the page shows:\n{self.text()}")
        assert before is not None
        x, y = before
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Replace the content of the focused field by a text."""
        self._call("Input.dispatchKeyEvent", type="keyDown", key="a", code="KeyA", modifiers=2, commands=["selectAll"])
        self._call("Input.insertText", text=text)

    def press_enter(self) -> None:
        """Press the enter key."""
        for kind in ("keyDown", "keyUp"):
            self._call(
                "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
            )

    def picture(self) -> bytes:
        """Return the page as PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a headless Chromium with a profile of its own.

    Raises:
        BrowserError: It is not installed, or does not start.
    """
    chromium = executable()
    if chromium is None:
        raise BrowserError("Chromium was not found; on Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [chromium, *_OPTIONS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            port_file = Path(profile) / "DevToolsActivePort"
            wait_for(
                lambda: port_file.exists() and len(port_file.read_text().split()) == 2,
                lambda: "Chromium does not start",
            )
            port, path = port_file.read_text().split()
            with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as connection:
                yield Browser(connection)
        finally:
            process.terminate()
            process.wait()
