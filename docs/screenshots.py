"""Take the pictures in docs/pictures: Dagster's pages after a range of dates with a broken date.

The script creates a lakehouse of its own with the sample shop, breaks one date of the shop, and runs a range: with that
date, which fails, and without it. It needs Chromium. `make pictures` runs it, in about four minutes.
"""

import argparse
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import psutil
from websockets.sync.client import ClientConnection, connect

from orders_lakehouse.postgres.embedded import embedded_server, remove_embedded_server, stop_embedded_server
from orders_lakehouse.sample_shop.sample import load_sample_shop

PROJECT = Path(__file__).resolve().parents[1]
PICTURES = PROJECT / "docs" / "pictures"
LAKEHOUSE = Path(sys.executable).with_name("lakehouse")
# An order is captured when it last changed, up to some weeks after it was placed. So raw extends beyond the range.
FIRST, LAST, CAPTURED = date(2017, 1, 1), date(2017, 1, 24), date(2017, 2, 28)
BROKEN = date(2017, 1, 11)
BREAK = """
    update shop.order_items set quantity = -quantity
    where quantity > 0 and order_id in (select order_id from shop.orders where ordered_at::date = %s)
"""


class Page(NamedTuple):
    """A page to take a picture of.

    Attributes:
        path: Path of the page.
        text: Text that the page shows once it is ready.
        height: Height of the picture.
        click: Text of the element to click then.
    """

    path: str
    text: str
    height: int
    click: str = ""


PAGES = {
    "lineage": Page(
        "/assets/marts/fct_order_lines?view=lineage&lineageScope=upstream&lineageDepth=9", "fct_order", 900
    ),
    "checks": Page("/assets/cleansed/order_items?view=checks&checkDetail=rejected_share", "to_do", 900),
    "quarantine": Page(f"/assets/cleansed/order_items?view=partitions&partition={LAST}", "quarantine_sample", 1300),
    "partitions": Page(f"/assets/curated/order_lines?view=partitions&partition={BROKEN}", "Missing", 680),
    "daily_sales": Page("/assets/curated/daily_sales", "by_date", 900, click="[Show Markdown]"),
}
WIDTH = 1400
_PATIENCE = 120


def own_lakehouse(home: Path) -> None:
    """Make every command use a home and embedded databases, whatever the environment or a `.env` says."""
    for name in [name for name in os.environ if name.startswith(("LAKEHOUSE_", "AWS_"))]:
        del os.environ[name]
    socket = quote(embedded_server(home), safe="/")
    os.environ |= {
        "LAKEHOUSE_HOME": str(home),
        "LAKE_URL": str(home / "lake"),
        "DAGSTER_HOME": str(home / "dagster"),
        "LAKEHOUSE_SENSORS": "stopped",
        **{
            f"{name.upper()}_DATABASE_URL": f"postgresql://postgres@/{name}?host={socket}"
            for name in ("shop", "warehouse")
        },
    }


def build(home: Path) -> None:
    """Load the shop, break a date, and run the range with it and without it."""
    load_sample_shop(os.environ["SHOP_DATABASE_URL"], report=print)
    _break(os.environ["SHOP_DATABASE_URL"])
    _lakehouse("backfill", FIRST, CAPTURED, "--job", "refresh_raw_job")
    _lakehouse("backfill", FIRST, LAST, fails=True)
    _lakehouse("backfill", FIRST, LAST, "--without", BROKEN)
    print(f"Built in {home}.")


def _break(url: str) -> None:
    import psycopg2

    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(BREAK, (BROKEN,))
        print(f"Broke {cursor.rowcount} lines of {BROKEN}.")


def _lakehouse(*arguments: object, fails: bool = False) -> None:
    ended = subprocess.run([LAKEHOUSE, *map(str, arguments)], check=False)  # noqa: S603
    if (ended.returncode != 0) != fails:
        raise SystemExit(f"`lakehouse {' '.join(map(str, arguments))}` ended with status {ended.returncode}")


@contextmanager
def user_interface() -> Iterator[str]:
    """Start Dagster's UI on a free port, and stop everything that it started."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    process = psutil.Popen(
        [LAKEHOUSE, "dev", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait(lambda: _listens(port), f"nothing listens at port {port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        # The code servers outlive the command that started them.
        family = [process, *process.children(recursive=True)]
        for member in family:
            with _gone_already():
                member.terminate()
        for survivor in psutil.wait_procs(family, timeout=15)[1]:
            with _gone_already():
                survivor.kill()


@contextmanager
def _gone_already() -> Iterator[None]:
    try:
        yield
    except psutil.NoSuchProcess:
        return


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _wait(ready: Any, problem: str) -> None:
    until = time.monotonic() + _PATIENCE
    while not ready():
        if time.monotonic() > until:
            raise SystemExit(f"waited {_PATIENCE} s: {problem}")
        time.sleep(0.5)


class Browser:
    """A tab of Chromium, controlled by its debugging protocol."""

    def __init__(self, connection: ClientConnection):
        self._connection, self._sent, self._session = connection, 0, None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def _call(self, method: str, **parameters: Any) -> Any:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        self._connection.send(json.dumps({**message, **({"sessionId": self._session} if self._session else {})}))
        while (answer := json.loads(self._connection.recv())).get("id") != self._sent:
            pass
        if "error" in answer:
            raise SystemExit(f"{method}: {answer['error']}")
        return answer["result"]

    def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression on the page."""
        return self._call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def picture(self, url: str, page: Page) -> bytes:
        """Return a page as PNG, once it shows its text."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=WIDTH, height=page.height, deviceScaleFactor=1, mobile=False
        )
        self._call("Page.navigate", url=url + page.path)
        _wait(lambda: page.text in (self.value("document.body.innerText") or ""), f"{page.path} lacks {page.text!r}")
        time.sleep(4)
        if page.click:
            element = f"[...document.querySelectorAll('*')].find(e => e.textContent === {json.dumps(page.click)})"
            self.value(f"{element}.click()")
            time.sleep(2)
        return base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"])


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a headless Chromium with a profile of its own."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        raise SystemExit("Chromium was not found; on Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--hide-scrollbars",
        ]
        chromium = subprocess.Popen(  # noqa: S603
            [executable, *options, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            port_file = Path(profile) / "DevToolsActivePort"
            _wait(lambda: port_file.exists() and len(port_file.read_text().split()) == 2, "Chromium does not start")
            port, path = port_file.read_text().split()
            with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as connection:
                yield Browser(connection)
        finally:
            chromium.terminate()
            chromium.wait()


def main() -> None:
    """Build the lakehouse, take the pictures, and clean up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, help="A lakehouse that an earlier call created; it is not changed.")
    parser.add_argument("--keep", action="store_true", help="Keep the created lakehouse for another call.")
    parser.add_argument(
        "pictures", nargs="*", metavar="PICTURE", help=f"Pictures to take: {', '.join(PAGES)}; all by default."
    )
    given = parser.parse_args()
    home = given.home or Path(tempfile.gettempdir()) / "lakehouse"
    if given.home is None and home.exists():
        raise SystemExit(f"{home} exists; remove it, or use it with --home")
    own_lakehouse(home)
    try:
        if given.home is None:
            build(home)
        PICTURES.mkdir(exist_ok=True)
        with user_interface() as url, browser() as tab:
            for name in given.pictures or PAGES:
                size = (PICTURES / f"{name}.png").write_bytes(tab.picture(url, PAGES[name]))
                print(f"docs/pictures/{name}.png: {size / 1000:.0f} kB")
    finally:
        stop_embedded_server(home)
        if given.home is None and not given.keep:
            remove_embedded_server(home)
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
